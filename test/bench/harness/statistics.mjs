/** @param {number[]} values */
export function summary(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return { median: quantile(sorted, 0.5), min: sorted[0], max: sorted.at(-1) ?? sorted[0], values };
}

/** @param {number[]} values @param {number} q 0 to 1, between neighbours by their weight. */
export function percentile(values, q) {
  return quantile(
    [...values].sort((a, b) => a - b),
    q,
  );
}

function quantile(/** @type {number[]} */ sorted, /** @type {number} */ q) {
  const at = (sorted.length - 1) * q;
  const low = Math.floor(at);
  const high = Math.ceil(at);
  return sorted[low] + (sorted[high] - sorted[low]) * (at - low);
}
