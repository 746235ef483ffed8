const inherited = ['PATH', 'TMPDIR', 'TEMP', 'TMP', 'SYSTEMROOT', 'LD_LIBRARY_PATH'];

/**
 * The environment of every process started here. It is built from nothing: PG* variables are settings to a server,
 * NODE_OPTIONS would load the application's hooks into the keeper, and secrets have no business there. The fixed locale
 * makes messages English and the cluster the same on every machine; the fixed time zone spares initdb a search.
 */
export function childEnvironment(): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = { LC_ALL: 'C', TZ: 'UTC' };
  for (const name of inherited) {
    if (process.env[name] !== undefined) env[name] = process.env[name];
  }
  return env;
}
