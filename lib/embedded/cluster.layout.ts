import { join } from 'node:path';

/**
 * What lies where in a data folder. Only `pgdata` belongs to the server's user: when root starts a server for another
 * account, nothing of root's is ever written into a folder which that account controls.
 */
export interface ClusterLayout {
  dataDir: string;
  /** Comes into being by a rename once initdb has succeeded: while it is absent there is no data. */
  cluster: string;
  pgdata: string;
  password: string;
  log: string;
}

export function clusterLayout(dataDir: string, cluster = join(dataDir, 'cluster')): ClusterLayout {
  return {
    dataDir,
    cluster,
    pgdata: join(cluster, 'pgdata'),
    password: join(cluster, 'password'),
    log: join(cluster, 'server.log'),
  };
}
