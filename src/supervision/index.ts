/** `regrow/supervision`: OTP's supervisor for Node.js, on its own. See docs/supervision.md. */
export { callSupervisor, createSupervisor, findSupervisor, inspectSupervisor } from './create-supervisor.js';
export type { StartResult, Supervisor, SupervisorRef } from './create-supervisor.js';
export { subtree, supervisorMachine } from './supervisor.js';
export { worker } from './child.js';
export type {
  ChildEvent, ChildIdentity, ChildInput, ChildOrder, ChildSpec, SupervisionEnvironment, WorkerContext,
} from './child.js';
export { createStartGate } from './start-gate.js';
export type { StartGate } from './start-gate.js';
export { supervisorDefaults } from './options.js';
export type { RestartLimits, SupervisorInput, SupervisorOptions } from './options.js';
export type { ChildView, SupervisorEnd, SupervisorView } from './context.js';
export type { SupervisorReport } from './reports.js';
export { budgetReachable } from '../policy/backoff.js';
export type { Backoff } from '../policy/backoff.js';
export type { AutoShutdown, RestartType, Shutdown, Strategy } from '../policy/restart.js';
export type { ChildCounts, ListedChild } from '../policy/children.js';
export type { Call, CallError, CallResult } from '../policy/supervise.js';
export type { ExitReason } from '../errors.js';
export type { Clock, Random } from '../ports.js';
