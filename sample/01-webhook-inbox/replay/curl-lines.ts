import { randomUUID } from 'node:crypto';
import { sign } from '../deliveries/signature.js';

/** Lines for a shell that post a delivery of one's own, correctly signed. */
export function curlLines(url: string, secret: string): string {
  const id = randomUUID();
  const now = new Date().toISOString();
  const body = JSON.stringify({
    action: 'opened',
    issue: {
      id: 1,
      number: 1,
      title: 'A great sample',
      body: 'I like it.',
      user: { login: 'you' },
      comments: 0,
      updated_at: now,
    },
    repository: {
      id: 1,
      full_name: 'you/yours',
      owner: { login: 'you' },
      private: false,
      default_branch: 'main',
      stargazers_count: 1,
      open_issues_count: 1,
      updated_at: now,
    },
  });
  const post = (signature: string) =>
    `curl -i ${url}/webhooks/github -H 'content-type: application/json' -H 'x-github-event: issues' \\\n` +
    `  -H 'x-github-delivery: ${id}' \\\n  -H 'x-hub-signature-256: ${signature}' \\\n  -d '${body}'`;
  return `
# a delivery: 202, and 200 with "duplicate": true when you send it again
${post(sign(body, secret))}

# what became of it
curl ${url}/deliveries/${id}

# the same with a signature of somebody who does not know the secret: 401
${post(sign(body, 'a guess'))}
`;
}
