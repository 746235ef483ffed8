const day = 86_400_000;

/** Clocks have never changed twice, there and back, in less time than this. */
const shortest = 3 * day;

/** Says where a time zone's clocks change. */
export class UtcOffsets {
  private readonly formats = new Map<string, Intl.DateTimeFormat>();

  /**
   * Whether no wall-clock time between the two comes a second time or has been left out: the zone's clocks go on evenly
   * from a day before the one to the other. A day is the most by which clocks have ever been put back.
   */
  steady(timeZone: string, from: number, to: number): boolean {
    const start = from - day;
    const offset = this.offset(timeZone, start);
    for (let at = to; at > start; at -= shortest) if (this.offset(timeZone, at) !== offset) return false;
    return true;
  }

  /** As a text, which is the same when the offset is. */
  private offset(timeZone: string, at: number): string | undefined {
    let format = this.formats.get(timeZone);
    if (!format) {
      format = new Intl.DateTimeFormat('en', { timeZone, timeZoneName: 'longOffset' });
      this.formats.set(timeZone, format);
    }
    return format.formatToParts(at).find(({ type }) => type === 'timeZoneName')?.value;
  }
}
