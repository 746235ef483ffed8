export { BackieError } from './backie.error.js';
export {
  ConcurrencyKeyError,
  DuplicateTaskNameError,
  InvalidOptionsError,
  MissingHandlerError,
  QueueNotConfiguredError,
  UnknownTaskError,
} from './configuration.errors.js';
export {
  LeaseLostError,
  QuarantinedError,
  ShutdownError,
  TaskCancelledError,
  TaskTimeoutError,
  UnrecoverableTaskError,
} from './execution.errors.js';
export {
  NotTransactionalError,
  TransactionEndedError,
  TransactionFailedError,
  TransactionsUnsupportedError,
} from './transaction.errors.js';
export { InvalidPayloadError, PayloadSchemaError } from './payload.errors.js';
export {
  ConnectionFailedError,
  MissingConnectionError,
  SchemaOutdatedError,
  SchemaTooNewError,
  StoreClosedError,
  StoreUnavailableError,
  UniqueKeyPendingError,
  UniqueKeyTakenError,
} from './store.errors.js';
