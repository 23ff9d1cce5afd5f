/**
 * The wire between a host and its nats-server, which can be cut in both directions or in one. Like a network that loses
 * every packet: nothing arrives, nobody is told, what TCP still holds arrives when the wire is whole again. New connections
 * hang as long as any direction is cut, because no handshake gets through.
 */
import { connect, createServer, type Socket } from 'node:net';

export type Cut = 'none' | 'both' | 'to-broker' | 'to-host';

export interface Proxy {
  readonly url: string;
  cut(how: Cut): void;
  close(): Promise<void>;
}

/** One direction of one connection. */
interface Flow {
  readonly from: Socket;
  readonly to: Socket;
  readonly way: 'to-broker' | 'to-host';
  /** The source ended while the wire was cut. */
  over: boolean;
}

/** @param port of the nats-server on 127.0.0.1 */
export async function startProxy(port: number): Promise<Proxy> {
  let now: Cut = 'none';
  const flows = new Set<Flow>();
  const waiting = new Set<Socket>();
  const sockets = new Set<Socket>();
  const isCut = (way: Flow['way']): boolean => now === 'both' || now === way;
  const track = (socket: Socket): void => {
    sockets.add(socket);
    socket.setNoDelay(true);
    socket.on('error', () => {}); // its 'close' follows
    socket.once('close', () => sockets.delete(socket));
  };
  const finish = (flow: Flow): void => {
    flow.over = true;
    if (isCut(flow.way)) return;
    flows.delete(flow);
    flow.to.end();
  };
  const flowOf = (from: Socket, to: Socket, way: Flow['way']): void => {
    const flow: Flow = { from, to, way, over: false };
    flows.add(flow);
    from.on('data', (chunk: Buffer) => void to.write(chunk));
    from.once('end', () => finish(flow));
    from.once('close', () => finish(flow));
    if (isCut(way)) from.pause();
  };
  const join = (host: Socket): void => {
    const broker = connect(port, '127.0.0.1');
    track(broker);
    flowOf(host, broker, 'to-broker');
    flowOf(broker, host, 'to-host');
  };
  const server = createServer({ pauseOnConnect: true }, (host) => {
    track(host);
    if (now === 'none') {
      join(host);
      host.resume();
    } else {
      waiting.add(host);
      host.once('close', () => waiting.delete(host));
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `nats://127.0.0.1:${(server.address() as { port: number }).port}`,
    cut(how) {
      now = how;
      for (const flow of flows) {
        if (isCut(flow.way)) flow.from.pause();
        else if (flow.over) finish(flow);
        else flow.from.resume();
      }
      if (now !== 'none') return;
      for (const host of waiting) {
        waiting.delete(host);
        join(host);
        host.resume();
      }
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
