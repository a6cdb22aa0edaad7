// An agent made with the official TypeScript SDK: `node agent.mjs DIRECTORY_OF_THE_SDK`. It does what agent.py does.
import { createRequire } from "node:module";
import { Readable, Writable } from "node:stream";
import { pathToFileURL } from "node:url";

const require = createRequire(`${process.argv[2]}/`);
const acp = await import(pathToFileURL(require.resolve("@agentclientprotocol/sdk")));
const { agent: on, client: to } = acp.methods;

const options = [
  { optionId: "yes", name: "Yes", kind: "allow_once" },
  { optionId: "no", name: "No", kind: "reject_once" },
];
const cancels = new Map(); // of each session

const say = (client, sessionId, text) =>
  client.notify(to.session.update, {
    sessionId,
    update: { sessionUpdate: "agent_message_chunk", content: { type: "text", text } },
  });

async function prompt({ params: { sessionId, prompt }, client }) {
  if (!cancels.has(sessionId)) throw new acp.RequestError(-32002, "Session not found", { sessionId });
  const { text } = prompt[0];
  await say(client, sessionId, `you said: ${text}; `);
  if (text === "wait") {
    await new Promise((resolve) => cancels.set(sessionId, resolve));
    return { stopReason: "cancelled" };
  }
  if (text === "fail") throw new acp.RequestError(-32123, "no credit", { left: 0 });
  const toolCall = { toolCallId: "1", title: "edit it", kind: "edit" };
  const { outcome } = await client.request(to.session.requestPermission, { sessionId, toolCall, options });
  if (outcome.outcome !== "selected") return { stopReason: "cancelled" };
  await say(client, sessionId, `you chose: ${outcome.optionId}`);
  return { stopReason: "end_turn" };
}

const connection = acp
  .agent({ name: "typescript-sdk" })
  .onRequest(on.initialize, () => ({
    protocolVersion: 1,
    agentCapabilities: {},
    agentInfo: { name: "typescript-sdk", version: "1" },
  }))
  .onRequest(on.session.new, () => {
    const sessionId = crypto.randomUUID();
    cancels.set(sessionId, () => {});
    return { sessionId };
  })
  .onRequest(on.session.prompt, prompt)
  .onNotification(on.session.cancel, ({ params }) => cancels.get(params.sessionId)?.())
  .connect(acp.ndJsonStream(Writable.toWeb(process.stdout), Readable.toWeb(process.stdin)));
await connection.closed;
