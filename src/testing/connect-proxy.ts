// A proxy on loopback, honest or not: CONNECT and whole addresses, with a password or without, and every way to fail that a test needs.

import { createServer, request, type IncomingMessage, type ServerResponse } from "node:http";
import { connect, type AddressInfo, type Socket } from "node:net";

export type ProxyManner =
  | "honest"
  /** Refuses every CONNECT. */
  | "forbids"
  /** Takes the request and says nothing. */
  | "silent"
  /** Answers CONNECT and sends bytes before the client spoke. */
  | "talks-first"
  /** Hangs up. */
  | "hangs-up"
  /** Answers with what is no HTTP. */
  | "speaks-nonsense";

export type ConnectProxy = {
  readonly url: string;
  /** `host:port` of each CONNECT, and whole addresses asked for in the clear. */
  readonly seen: string[];
  manner: ProxyManner;
  /** `name:password` that it demands. */
  password: string | null;
  /** Where tunnels really lead, whatever was asked for: a man in the middle. */
  detour: { readonly host: string; readonly port: number } | null;
  close(): Promise<void>;
};

export async function startConnectProxy(): Promise<ConnectProxy> {
  const sockets = new Set<Socket>();
  const allowed = (incoming: IncomingMessage): boolean =>
    proxy.password === null ||
    incoming.headers["proxy-authorization"] ===
      `Basic ${Buffer.from(proxy.password, "utf8").toString("base64")}`;
  const server = createServer((incoming: IncomingMessage, response: ServerResponse) => {
    proxy.seen.push(incoming.url!);
    if (!allowed(incoming)) return void response.writeHead(407).end();
    const { "proxy-authorization": _secret, ...headers } = incoming.headers;
    const onward = request(incoming.url!, { method: incoming.method!, headers, agent: false }, (answer) => {
      response.writeHead(answer.statusCode!, answer.headers);
      answer.pipe(response);
    });
    onward.on("error", () => response.writeHead(502).end());
    incoming.pipe(onward);
  });
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.once("close", () => sockets.delete(socket));
  });
  server.on("connect", (incoming: IncomingMessage, socket: Socket) => {
    proxy.seen.push(incoming.url!);
    if (proxy.manner === "silent") return;
    if (proxy.manner === "hangs-up") return void socket.destroy();
    if (proxy.manner === "speaks-nonsense") return void socket.end("220 ready\r\n");
    if (!allowed(incoming))
      return void socket.end(
        'HTTP/1.1 407 Who are you\r\nproxy-authenticate: Basic realm="x"\r\ncontent-length: 0\r\n\r\n',
      );
    if (proxy.manner === "forbids")
      return void socket.end("HTTP/1.1 403 No\r\ncontent-length: 3\r\n\r\nno\n");
    const at = incoming.url!.lastIndexOf(":");
    const asked = {
      host: incoming.url!.slice(0, at).replace(/^\[|\]$/g, ""),
      port: Number(incoming.url!.slice(at + 1)),
    };
    const onward = connect(proxy.detour ?? asked, () => {
      socket.write(`HTTP/1.1 200 OK\r\n\r\n${proxy.manner === "talks-first" ? "hello" : ""}`);
      socket.pipe(onward).pipe(socket);
    });
    sockets.add(onward);
    onward.on("error", () => socket.end("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n"));
    onward.once("close", () => sockets.delete(onward));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const proxy: ConnectProxy = {
    url: `http://127.0.0.1:${port}`,
    seen: [],
    manner: "honest",
    password: null,
    detour: null,
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
  return proxy;
}
