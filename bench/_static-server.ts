// A plain file server on loopback in a process of its own, which counts every byte on its sockets.

import { createReadStream, statSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { join } from "node:path";

const folder = process.argv[2]!;
const sockets = new Set<Socket>();
const done = { bytes: 0, requests: 0 };

const server = createServer((request, response) => {
  const path = request.url ?? "/";
  if (path === "/stats") {
    // What went over the wire before this question: requests, answers, headers and bodies.
    const live = [...sockets].filter((socket) => socket !== request.socket);
    const bytes = done.bytes + live.reduce((sum, socket) => sum + socket.bytesRead + socket.bytesWritten, 0);
    response.setHeader("connection", "close");
    response.end(JSON.stringify({ bytes, requests: done.requests }));
    sockets.delete(request.socket);
    return;
  }
  done.requests++;
  const file = join(folder, path);
  try {
    response.writeHead(200, { "content-length": statSync(file).size });
    createReadStream(file).pipe(response);
  } catch {
    response.writeHead(404, { "content-length": 0 }).end();
  }
});
server.on("connection", (socket: Socket) => {
  sockets.add(socket);
  socket.on("close", () => {
    if (sockets.delete(socket)) done.bytes += socket.bytesRead + socket.bytesWritten;
  });
});
server.listen(0, "127.0.0.1", () => process.send!((server.address() as AddressInfo).port));
process.on("disconnect", () => process.exit());
