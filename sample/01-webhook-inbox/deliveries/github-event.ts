import type { WebhookEventMap, WebhookEventName } from '@octokit/webhooks-types';

type EventOf<Name extends WebhookEventName> = {
  readonly deliveryId: string;
  readonly name: Name;
  readonly payload: WebhookEventMap[Name];
};

/** One delivery of GitHub's: the payload's type follows from the event's name. */
export type GithubEvent = { [Name in WebhookEventName]: EventOf<Name> }[WebhookEventName];

/** A delivery whose payload nobody has looked at. */
export interface RawEvent {
  readonly deliveryId: string;
  readonly name: string;
  readonly payload: Readonly<Record<string, unknown>>;
}

/** The signature has vouched for the sender: its word is taken for the payload's shape. */
export function asGithubEvent(raw: RawEvent): GithubEvent {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  return raw as GithubEvent;
}

/** Whether the event is one of these; its payload's type follows. */
export function isOneOf<Name extends WebhookEventName>(
  event: GithubEvent,
  names: readonly Name[],
): event is Extract<GithubEvent, { name: Name }> {
  return names.some((name) => name === event.name);
}
