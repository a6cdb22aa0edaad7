// The TypeScript SDK's own transports back to back: its WebSocket server in front of an agent's stdio.
// node server.mjs PORT AGENT
import { spawn } from "node:child_process";
import { createServer } from "node:http";
import { Readable, Writable } from "node:stream";
import { ndJsonStream } from "@agentclientprotocol/sdk";
import { createNodeHttpHandler, createNodeWebSocketUpgradeHandler } from "@agentclientprotocol/sdk/experimental/node";
import { AcpServer } from "@agentclientprotocol/sdk/experimental/server";
import { WebSocketServer } from "ws";

const [port, command] = process.argv.slice(2);

function connect(stream) {
  const agent = spawn(command, { stdio: ["pipe", "pipe", "inherit"] });
  const pipe = ndJsonStream(Writable.toWeb(agent.stdin), Readable.toWeb(agent.stdout));
  const both = [stream.readable.pipeTo(pipe.writable), pipe.readable.pipeTo(stream.writable)];
  const closed = Promise.allSettled(both).then(() => agent.kill());
  return { closed, close: () => agent.kill(), startConnectHandlers() {} };
}

const server = new AcpServer({ createAgent: () => ({ connect }) });
const http = createServer(createNodeHttpHandler(server));
const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false });
http.on("upgrade", createNodeWebSocketUpgradeHandler(server, sockets));
http.listen(Number(port), "127.0.0.1");
