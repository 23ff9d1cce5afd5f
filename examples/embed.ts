/** A model inside your own service: two supervised replicas, one of them killed while requests run. Nobody notices. */
import { createHost } from 'regrow';

const host = await createHost({ actors: [{ name: 'digits', model: 'demo/models/digits.onnx', replicas: 2 }] });
host.onEvent(({ type, replica, reason }) => console.log(`  ${type} ${replica ?? ''} ${reason}`));
const image = { datatype: 'FP32' as const, shape: [1, 1, 28, 28], data: new Float32Array(784).fill(0.5) };

const before = host.status().hosts[0]!.actors[0]!.replicas.map(({ pid }) => pid);
let answered = 0;
for (let i = 0; i < 500; i++) {
  if (i === 100) process.kill(before[0]!, 'SIGKILL');
  const { outputs } = await host.infer('digits', { image }, { timeoutMs: 5000 });
  if (outputs['scores']!.shape[1] === 10) answered++;
}
console.log(`${answered} of 500 requests answered; pids before: ${before.join(', ')}`);
await host.stop();
