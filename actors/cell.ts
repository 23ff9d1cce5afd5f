/**
 * A cell: the process around one replica (child_process entry).
 *
 * The model runs in a worker thread, so this main thread is always free to answer pings and to notice that the host is
 * gone; then it kills its own process, because no other way out works while native code runs. It passes the lane's
 * bytes between socket and thread without reading them. Signals a terminal or a service manager sends to the whole
 * group are ignored: the host drains first and then ends its cells in order.
 */
import { Socket } from 'node:net';
import { ThreadLink } from '../src/adapters/thread-link.js';
import { cellSocketFd, parseCellOrder } from '../src/protocol/cell-order.js';
import { FrameLink } from '../src/protocol/frame-link.js';
import { encodeJson, encodeNumber, messageType, priorityOf, typeOf } from '../src/protocol/task-codec.js';

function dieNow(): void {
  process.kill(process.pid, 'SIGKILL');
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});

const order = parseCellOrder(process.argv[2]);
process.title = `regrow ${order.replica}`;

const socket = new Socket({
  fd: cellSocketFd,
  // One buffer for all reads: every byte is copied once, into the message it belongs to.
  onread: {
    buffer: new Uint8Array(256 * 1024),
    callback: (byteLength, buffer) => {
      link.receive(buffer.subarray(0, byteLength));
      return true;
    },
  },
});
for (const event of ['end', 'error', 'close']) socket.on(event, dieNow);

const link = new FrameLink(socket, (bytes) => {
  switch (typeOf(bytes)) {
    case messageType.ping:
      return link.send(encodeNumber('pong', process.memoryUsage.rss()), 0);
    case messageType.unload:
      return thread.stop(Infinity);
    default:
      return thread.send(bytes);
  }
});

const thread = new ThreadLink({
  worker: new URL(order.worker),
  concurrency: order.concurrency,
  ...(order.resourceLimits && { resourceLimits: order.resourceLimits }),
  onMessage: (bytes) => link.send({ parts: [bytes], byteLength: bytes.byteLength }, priorityOf(typeOf(bytes))),
  onExit: (exit) => leave(exit.reason, exit.detail),
});
thread.online.then(() => link.send(encodeNumber('started', thread.threadId), 0), () => {});

// A fault in this file: the host hears why, as far as the socket still carries it.
process.on('uncaughtException', (error) => leave('crashed', `cell: ${error.message}`));

/** Everything said before goes out first; the host ends what does not get there in time. */
function leave(reason: string, detail: string): void {
  link.send(encodeJson('ended', { reason, detail }), 2);
  void link.flushed().then(() => {
    socket.removeAllListeners('end').removeAllListeners('close');
    // Where something broke a run may be inside native code, and then `exit` would abort or hang.
    socket.end(() => (reason === 'shutdown' ? process.exit(0) : dieNow()));
  });
}
