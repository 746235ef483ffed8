import type { StandardSchemaV1 } from '@standard-schema/spec';
import { BackieError, quoted } from './backie.error.js';

/** A payload cannot be stored as JSON; nothing has been written. */
export class InvalidPayloadError extends BackieError {
  constructor(task: string, problem: string, options?: ErrorOptions) {
    super(`The payload of task ${quoted([task])} cannot be stored: ${problem}.`, options);
  }
}

/** A payload violates the task's `schema`; nothing has been written. */
export class PayloadSchemaError extends BackieError {
  /** Everything the validator found, with the path of each. */
  readonly issues: readonly StandardSchemaV1.Issue[];

  constructor(task: string, issues: readonly StandardSchemaV1.Issue[]) {
    const lines = issues.map((issue) => `${path(issue)}${issue.message}`);
    super(`The payload of task ${quoted([task])} violates its schema: ${lines.join('; ')}`);
    this.issues = issues;
  }
}

function path(issue: StandardSchemaV1.Issue): string {
  const keys = (issue.path ?? []).map((part) => String(typeof part === 'object' ? part.key : part));
  return keys.length ? `${keys.join('.')}: ` : '';
}
