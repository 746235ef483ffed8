import type { RawEvent } from '../deliveries/github-event.js';
import { analyse } from '../text-service/analyse.js';
import { isJsonObject, path } from './json-path.js';
import type { ReadModel, Row } from './read-model-tables.js';

/**
 * What the read model must be, told from the payloads alone: a second reading of them that shares no code with the
 * handlers, sees the deliveries one after the other and knows nothing of tasks, transactions or PostgreSQL.
 */
export function expectedReadModel(events: readonly RawEvent[]): ReadModel {
  return {
    deliveries: events.map(({ deliveryId, name }) => ({ id: deliveryId, event: name, processed: true })),
    repositories: latest(events.flatMap(repository), ['id']),
    issues: latest(events.flatMap(issue), ['id']),
    pullRequests: latest(events.flatMap(pullRequest), ['id']),
    comments: latest(events.flatMap(comment), ['kind', 'id']),
    commits: lastOfEach(events.flatMap(commits), ['repositoryId', 'sha']),
    insights: events.flatMap(insight),
  };
}

function repository({ deliveryId, name, payload }: RawEvent): Row[] {
  if (!isJsonObject(payload['repository'])) return [];
  const get = (at: string) => path(payload, `repository.${at}`);
  return [
    {
      id: get('id'),
      fullName: get('full_name'),
      owner: get('owner.login'),
      private: get('private'),
      defaultBranch: get('default_branch'),
      stars: get('stargazers_count'),
      openIssues: get('open_issues_count'),
      deleted: name === 'repository' && payload['action'] === 'deleted',
      updatedAt: date(get('updated_at')),
      deliveryId,
    },
  ];
}

function issue({ deliveryId, name, payload }: RawEvent): Row[] {
  if (!['issues', 'issue_comment'].includes(name)) return [];
  const get = (at: string) => path(payload, `issue.${at}`);
  const labels = get('labels');
  return [
    {
      id: get('id'),
      repositoryId: path(payload, 'repository.id'),
      number: get('number'),
      title: get('title'),
      author: get('user.login'),
      state: get('state') ?? null,
      comments: get('comments'),
      labels: Array.isArray(labels) ? labels.map((label) => path(label, 'name')) : [],
      deleted: name === 'issues' && payload['action'] === 'deleted',
      updatedAt: date(get('updated_at')),
      deliveryId,
    },
  ];
}

function pullRequest({ deliveryId, name, payload }: RawEvent): Row[] {
  if (!name.startsWith('pull_request')) return [];
  const get = (at: string) => path(payload, `pull_request.${at}`);
  return [
    {
      id: get('id'),
      repositoryId: path(payload, 'repository.id'),
      number: get('number'),
      title: get('title'),
      author: get('user.login'),
      state: get('state'),
      draft: get('draft') === true,
      merged: typeof get('merged_at') === 'string',
      deleted: false,
      updatedAt: date(get('updated_at')),
      deliveryId,
    },
  ];
}

function comment({ deliveryId, name, payload }: RawEvent): Row[] {
  if (!name.endsWith('_comment')) return [];
  const get = (at: string) => path(payload, `comment.${at}`);
  return [
    {
      kind: name,
      id: get('id'),
      repositoryId: path(payload, 'repository.id'),
      author: get('user.login'),
      body: get('body'),
      deleted: payload['action'] === 'deleted',
      updatedAt: date(get('updated_at')),
      deliveryId,
    },
  ];
}

function commits({ name, payload }: RawEvent): Row[] {
  if (name !== 'push' || !Array.isArray(payload['commits'])) return [];
  return payload['commits'].map((commit) => ({
    repositoryId: path(payload, 'repository.id'),
    sha: path(commit, 'id'),
    author: path(commit, 'author.name'),
    message: path(commit, 'message'),
    committedAt: date(path(commit, 'timestamp')),
  }));
}

function insight({ deliveryId, payload }: RawEvent): Row[] {
  const about = ['comment', 'review', 'issue', 'pull_request', 'discussion', 'release'].find((key) => payload[key]);
  if (!about) return [];
  const lines = [path(payload, `${about}.title`) ?? path(payload, `${about}.name`), path(payload, `${about}.body`)];
  const text = lines.filter((line) => typeof line === 'string' && line !== '').join('\n');
  return text === '' ? [] : [{ deliveryId, ...analyse(text) }];
}

/** Of the rows with one key the one of the greatest version: deleted, then the latest, then the greatest delivery id. */
function latest(rows: readonly Row[], key: readonly string[]): Row[] {
  const byVersion = rows.toSorted(
    (a, b) =>
      Number(a['deleted']) - Number(b['deleted']) ||
      Number(a['updatedAt']) - Number(b['updatedAt']) ||
      (String(a['deliveryId']) < String(b['deliveryId']) ? -1 : 1),
  );
  return lastOfEach(byVersion, key);
}

function lastOfEach(rows: readonly Row[], key: readonly string[]): Row[] {
  return [...new Map(rows.map((row) => [key.map((column) => row[column]).join('/'), row])).values()];
}

function date(value: unknown): Date {
  return new Date(String(value));
}
