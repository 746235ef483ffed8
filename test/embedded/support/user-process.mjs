// Uses the embedded PostgreSQL as an application does: node user-process.mjs <compiled barrel> <options as JSON>.
// Prints the server's description, or the error, as one line; stops using the server when told so on stdin.
import { once } from 'node:events';

const [barrel = '', options = ''] = process.argv.slice(2);
const { startEmbeddedPostgres } = await import(barrel);
try {
  const server = await startEmbeddedPostgres(JSON.parse(options));
  console.log(JSON.stringify(server));
  const [told] = await Promise.race([once(process.stdin, 'data'), once(process.stdin, 'end')]);
  if (told) await server.stop();
  process.stdin.destroy();
} catch (error) {
  console.log(JSON.stringify({ error: String(error) }));
}
