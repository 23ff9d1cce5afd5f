/**
 * The public API. A promise: short, explicit, exercised by the examples.
 *
 *     await using host = await createHost({ actors: [{ name: 'digits', model: 'digits.onnx', replicas: 2 }] });
 *     const { outputs } = await host.infer('digits', { image: { datatype: 'FP32', shape: [1, 1, 28, 28], data } });
 */
export { createHost, defineHost, SpecError, type EmbeddedHost, type EmbedOptions } from './host/create-host.js';
export { connect, type ConnectOptions } from './host/connect.js';
export { Client, type InferOptions, type InferResult, type TensorInputs } from './client/client.js';
export { ServeError, isServeError, type ErrorCode } from './errors.js';
export { text, type TensorLike, type TypedTensor } from './tensor/typed.js';
export type { Datatype } from './tensor/datatype.js';
export type { HostOptions } from './spec/host.js';
export type { ActorOptions } from './spec/actor.js';
export type { RegrowEvent } from './protocol/events.js';
export type { StatusDocument } from './protocol/status.js';
export type { ModuleContext, ModuleLoadContext } from './adapters/module-context.js';
export type { ModuleExports } from './adapters/module-session.js';
