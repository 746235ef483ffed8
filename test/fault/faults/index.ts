import type { Fault } from '../harness/fault.js';
import { backendsTerminated } from './backends-terminated.js';
import { blackhole, blackholeHalf, bytesDropped } from './blackhole.js';
import { blockedLoop } from './blocked-loop.js';
import { exitInHandler, killInHandler, poison, poisonCrowd } from './deadly-handlers.js';
import { killNine } from './kill-nine.js';
import { listenBlackholed, listenTerminated } from './listen.js';
import { opposedSettles, tableLocked } from './locks.js';
import { tenMigrations } from './migrations.js';
import { pooler } from './pooler.js';
import { claimReplyLost, enqueueReplyLost, settleReplyLost } from './reply-lost.js';
import { serverDown, tenRestarts } from './server-down.js';
import { connectionsExhausted, readOnly, readOnlySessions, serializable, statementTimeout } from './server-refuses.js';
import {
  enqueueWhileDraining,
  sigtermBootstrapping,
  sigtermClaiming,
  sigtermRunning,
  sigtermTwice,
  twoBootstraps,
} from './sigterm.js';
import { sigstop } from './sigstop.js';
import { transactional } from './transactional.js';

/** Every fault, in the order in which they are tried. */
export const faults: readonly Fault[] = [
  killNine,
  transactional,
  sigstop,
  blockedLoop,
  exitInHandler,
  killInHandler,
  poison,
  poisonCrowd,
  backendsTerminated,
  listenTerminated,
  listenBlackholed,
  blackhole,
  blackholeHalf,
  bytesDropped,
  enqueueReplyLost,
  claimReplyLost,
  settleReplyLost,
  tenRestarts,
  serverDown,
  connectionsExhausted,
  readOnly,
  readOnlySessions,
  serializable,
  statementTimeout,
  tableLocked,
  opposedSettles,
  tenMigrations,
  sigtermBootstrapping,
  sigtermClaiming,
  sigtermRunning,
  sigtermTwice,
  enqueueWhileDraining,
  twoBootstraps,
  pooler,
];
