// The TypeScript SDK's client on an agent's stdio, nothing between. node client.mjs AGENT PROMPT COUNT
import { spawn } from "node:child_process";
import { Readable, Writable } from "node:stream";
import * as acp from "@agentclientprotocol/sdk";

const [command, prompt, count] = process.argv.slice(2);
const agent = spawn(command, [], { stdio: ["pipe", "pipe", "inherit"] });
let updates = 0;
let lost = 0;
const app = acp
  .client({ name: "bench" })
  .onNotification(acp.methods.client.session.update, ({ params }) => {
    if (Number(params.update.content.text.slice(4, 12)) !== updates++) lost++;
  });
const stream = acp.ndJsonStream(Writable.toWeb(agent.stdin), Readable.toWeb(agent.stdout));
await app.connectWith(stream, async (context) => {
  const { initialize, session } = acp.methods.agent;
  await context.request(initialize, { protocolVersion: acp.PROTOCOL_VERSION, clientCapabilities: {} });
  const { sessionId } = await context.request(session.new, { cwd: "/", mcpServers: [] });
  const begun = performance.now();
  const used = process.cpuUsage();
  await context.request(session.prompt, { sessionId, prompt: [{ type: "text", text: prompt }] });
  while (updates < Number(count)) await new Promise((done) => setTimeout(done, 1));
  const seconds = (performance.now() - begun) / 1000;
  const { user, system } = process.cpuUsage(used);
  const cpu = (user + system) / 1e6;
  console.log(JSON.stringify({ updates, lost, foreign: 0, seconds, per_s: updates / seconds, cpu }));
});
agent.kill();
process.exit(0);
