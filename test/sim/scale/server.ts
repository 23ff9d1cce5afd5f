/**
 * What one real nats-server does of the same traffic: a few connections that all subscribe to what they all publish, over
 * plain sockets, so that the server and not a client library is measured. Counted in CPU time of the server, because on a
 * small or shared machine senders and receivers take most of the rest.
 */
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { startTestNats } from '../../support/nats-server.js';

export interface ServerRate {
  readonly connections: number;
  readonly bytes: number;
  /** Published by each connection in a second. */
  readonly perSecond: number;
  readonly deliveriesPerSecond: number;
  /** Per second of CPU time of the server, user and system. */
  readonly deliveriesPerCpuSecond: number;
  /** Received of what was to be received. */
  readonly receivedShare: number;
}

const CONF = 'host: "127.0.0.1"\nport: -1\nmax_payload: 1MB\n';
const TICKS_PER_SECOND = 100;

/** Linux only. */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /, '').split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** Every connection publishes `perSecond` messages of that many bytes and receives those of all. */
export async function measureServer(connections: number, bytes: number, perSecond: number, seconds: number): Promise<ServerRate> {
  const server = await startTestNats({ conf: CONF });
  const sockets: Socket[] = [];
  try {
    let received = 0;
    let lastMs = 0;
    const took = (count: number): void => {
      received += count;
      lastMs = performance.now();
    };
    for (let index = 0; index < connections; index++) sockets.push(await joined(server.port, took));
    const messages = sockets.map((_, index) => Buffer.concat([Buffer.from(`PUB regrow.beat.rack-07-host-${String(index).padStart(3, '0')} ${bytes}\r\n`), Buffer.alloc(bytes, 120), Buffer.from('\r\n')]));
    // What one delivery takes on the wire, subject and protocol line included.
    const deliveryBytes = `MSG regrow.beat.rack-07-host-000 1 ${bytes}\r\n\r\n`.length + bytes;
    const startedCpu = cpuSeconds(server.pid);
    const started = performance.now();
    const beforeBytes = received;
    let sent = 0;
    await new Promise<void>((resolve) => {
      const timer = setInterval(() => {
        const elapsed = (performance.now() - started) / 1000;
        const due = Math.floor(Math.min(elapsed, seconds) * perSecond);
        for (; sent < due; sent++) sockets.forEach((socket, index) => socket.write(messages[index]!));
        if (elapsed < seconds) return;
        clearInterval(timer);
        resolve();
      }, 10);
    });
    // What is on its way belongs to it, a server that has fallen behind is not waited for.
    let last = -1;
    for (let patience = 0; patience < 20 && received !== last; patience++) {
      last = received;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    const tookSeconds = (lastMs - started) / 1000;
    const deliveries = (received - beforeBytes) / deliveryBytes;
    return {
      connections, bytes, perSecond,
      deliveriesPerSecond: deliveries / tookSeconds,
      deliveriesPerCpuSecond: deliveries / Math.max(0.01, cpuSeconds(server.pid) - startedCpu),
      receivedShare: deliveries / (sent * connections * connections),
    };
  } finally {
    for (const socket of sockets) socket.destroy();
    await server.remove();
  }
}

/** A connection that has its subscription, counting the bytes it is sent from then on. */
function joined(port: number, took: (bytes: number) => void): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    let greeting = '';
    let isIn = false;
    socket.once('error', reject);
    socket.on('data', (data) => {
      if (isIn) return took(data.length);
      greeting += data.toString('latin1');
      if (!greeting.includes('PONG\r\n')) return;
      isIn = true;
      resolve(socket);
    });
    socket.write('CONNECT {"verbose":false,"pedantic":false,"lang":"sim","version":"0"}\r\nSUB regrow.beat.* 1\r\nPING\r\n');
  });
}
