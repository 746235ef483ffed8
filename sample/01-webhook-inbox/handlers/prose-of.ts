import { type GithubEvent, isOneOf } from '../deliveries/github-event.js';

interface Written {
  readonly title?: string | null;
  readonly name?: string | null;
  readonly body?: string | null;
}

/** What a person wrote in this event, if anything. */
export function proseOf(event: GithubEvent): string | null {
  const written = writtenIn(event);
  const prose = [written?.title ?? written?.name, written?.body].filter(Boolean).join('\n');
  return prose || null;
}

function writtenIn(event: GithubEvent): Written | null {
  if (isOneOf(event, ['commit_comment', 'discussion_comment', 'issue_comment', 'pull_request_review_comment'])) {
    return event.payload.comment;
  }
  if (isOneOf(event, ['issues'])) return event.payload.issue;
  if (isOneOf(event, ['pull_request', 'pull_request_review_thread'])) return event.payload.pull_request;
  if (isOneOf(event, ['pull_request_review'])) return event.payload.review;
  if (isOneOf(event, ['discussion'])) return event.payload.discussion;
  if (isOneOf(event, ['release'])) return event.payload.release;
  return null;
}
