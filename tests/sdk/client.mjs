// A client made with the official TypeScript SDK, which plays one scene with an agent: one that it starts, `COMMAND…`, or
// one behind a WebSocket, `ws://… header|protocol|browser TOKEN`. What the scene found out is one JSON object on stdout.
// `node client.mjs DIRECTORY_OF_THE_SDK SCENE CWD COMMAND…`
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { Readable, Writable } from "node:stream";
import { pathToFileURL } from "node:url";

const [, , sdk, scene, cwd, command, ...args] = process.argv;
const acp = await import(pathToFileURL(createRequire(`${sdk}/`).resolve("@agentclientprotocol/sdk")));
const { agent: to, client: on } = acp.methods;
const load = (name) => import(pathToFileURL(createRequire(`${sdk}/`).resolve(name)));

const updates = [];
const asked = [];
let heard = () => {}; // called with each update
let answer = "allow_once";

function permission({ params }) {
  asked.push(params.toolCall.title);
  const option = params.options.find(({ kind }) => kind === answer);
  return { outcome: { outcome: "selected", optionId: option.optionId } };
}

function update({ params }) {
  updates.push(params.update);
  heard(params.update);
}

const until = (holds) => new Promise((resolve) => (heard = (update) => holds(update) && resolve()));
const text = (words) => [{ type: "text", text: words }];
const said = () =>
  updates
    .filter(({ sessionUpdate }) => sessionUpdate === "agent_message_chunk")
    .map(({ content }) => content.text)
    .join("");

async function error(call) {
  try {
    return { result: await call };
  } catch ({ code, message, data }) {
    return { code, message, data };
  }
}

const open = (agent) => agent.request(to.session.new, { cwd, mcpServers: [] });
const prompt = (agent, sessionId, words) => agent.request(to.session.prompt, { sessionId, prompt: text(words) });

const scenes = {
  async turn(agent) {
    const opened = await open(agent);
    const ended = await prompt(agent, opened.sessionId, "type the greeting");
    return { opened, ended, asked, kinds: updates.map(({ sessionUpdate }) => sessionUpdate), said: said() };
  },

  async refused(agent) {
    answer = "reject_once";
    const { sessionId } = await open(agent);
    return { ended: await prompt(agent, sessionId, "type the greeting"), asked, said: said() };
  },

  async mode(agent) {
    const { sessionId } = await open(agent);
    const mode = await agent.request(to.session.setMode, { sessionId, modeId: "code" });
    return { mode, ended: await prompt(agent, sessionId, "type the greeting"), asked };
  },

  async cancel(agent) {
    const { sessionId } = await open(agent);
    const working = until(({ status }) => status === "in_progress");
    const turn = prompt(agent, sessionId, "build 600");
    await working;
    await agent.notify(to.session.cancel, { sessionId });
    return { ended: await turn, last: updates.at(-1).status, next: await prompt(agent, sessionId, "build 0") };
  },

  async abort(agent) {
    const { sessionId } = await open(agent);
    const working = until(({ status }) => status === "in_progress");
    const stop = new AbortController();
    const turn = agent.request(
      to.session.prompt,
      { sessionId, prompt: text("build 600") },
      { cancellationSignal: stop.signal },
    );
    await working;
    stop.abort();
    return { ended: await error(turn) };
  },

  async sessions(agent) {
    const first = await open(agent);
    const second = await open(agent);
    const ids = async () => (await agent.request(to.session.list, { cwd })).sessions.map(({ sessionId }) => sessionId);
    const before = await ids();
    const closed = await agent.request(to.session.close, { sessionId: first.sessionId });
    const gone = await error(prompt(agent, first.sessionId, "hi"));
    return { first: first.sessionId, second: second.sessionId, before, closed, after: await ids(), gone };
  },

  async load(agent) {
    const { sessionId } = await open(agent);
    await prompt(agent, sessionId, "type the greeting");
    const live = said();
    updates.length = 0;
    const loaded = await agent.request(to.session.load, { sessionId, cwd, mcpServers: [] });
    const kinds = updates.map(({ sessionUpdate }) => sessionUpdate);
    const replayed = said();
    return { live, loaded, kinds, replayed, next: await prompt(agent, sessionId, "build 0") };
  },

  async errors(agent) {
    const { sessionId } = await open(agent);
    return {
      unknown: await error(prompt(agent, "no such session", "hi")),
      mode: await error(agent.request(to.session.setMode, { sessionId, modeId: "no such mode" })),
      cwd: await error(agent.request(to.session.new, { cwd: "/no/such/place", mcpServers: [] })),
      method: await error(agent.request("_trio_broker/frobnicate", {})),
    };
  },
};

function started() {
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
  const exited = new Promise((resolve) => child.on("exit", resolve));
  const leave = () => (child.stdin.end(), exited);
  return { stream: acp.ndJsonStream(Writable.toWeb(child.stdin), Readable.toWeb(child.stdout)), leave };
}

async function dialled([how, token]) {
  const { createWebSocketStream } = await load("@agentclientprotocol/sdk/experimental/ws-client");
  const WebSocket = how === "browser" ? globalThis.WebSocket : (await load("ws")).default.WebSocket;
  const said = how === "header" ? { headers: { Authorization: `Bearer ${token}` } } : { protocols: ["acp.v1", `bearer.${token}`] };
  return { stream: createWebSocketStream(command, { WebSocket, ...said }), leave: () => 0 };
}

const { stream, leave } = command.startsWith("ws://") ? await dialled(args) : started();
const found = await acp
  .client({ name: "client.mjs" })
  .onRequest(on.session.requestPermission, permission)
  .onNotification(on.session.update, update)
  .connectWith(stream, async (agent) => {
    const introduced = await agent.request(to.initialize, { protocolVersion: 1, clientCapabilities: {} });
    return { introduced, ...(await scenes[scene](agent)) };
  });
console.log(JSON.stringify({ ...found, exit: await leave() }));
