export interface Analysis {
  readonly words: number;
  /** positive, neutral or negative */
  readonly tone: string;
}

export function isAnalysis(value: unknown): value is Analysis {
  return (
    typeof value === 'object' &&
    value !== null &&
    'words' in value &&
    typeof value.words === 'number' &&
    'tone' in value &&
    typeof value.tone === 'string'
  );
}

const positive = new Set(['good', 'great', 'like', 'right', 'simple', 'totally']);
const negative = new Set(['bug', 'error', 'fix', 'spelling', 'wrong']);

export function analyse(text: string): Analysis {
  const words = text.toLowerCase().match(/[a-z']+/g) ?? [];
  const score = words.reduce((sum, word) => sum + Number(positive.has(word)) - Number(negative.has(word)), 0);
  return { words: words.length, tone: score > 0 ? 'positive' : score < 0 ? 'negative' : 'neutral' };
}
