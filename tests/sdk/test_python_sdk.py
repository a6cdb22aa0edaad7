"""The official Python SDK: as a client over stdio and the WebSocket, and as an agent under the broker.

The SDK runs on asyncio, so these tests do.
"""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import acp
import pytest
from acp import schema
from acp.ws import create_websocket_stream

from trio_broker.testing.check import Endpoint, Program, Report, Settings, Verdict, run, select_checks
from trio_broker.testing.processes.home import FAKE, LIMIT, TRIO_BROKER, Home

HERE = Path(__file__).parent


def words(text: str) -> list[Any]:  # of blocks; the SDK's type for them is a list of a union, and invariant
    return [acp.text_block(text)]


HI = words("type the greeting")


class Editor:
    """Keeps what it hears, and answers a permission question with the first option of its kind."""

    def __init__(self, kind: str = "allow_once") -> None:
        self.kind = kind
        self.updates: list[Any] = []
        self.asked: list[str | None] = []
        self.working = asyncio.Event()

    async def request_permission(
        self,
        session_id: str,
        tool_call: schema.ToolCallUpdate,
        options: list[schema.PermissionOption],
        **_: Any,
    ) -> acp.RequestPermissionResponse:
        self.asked.append(tool_call.title)
        chosen = next(option.option_id for option in options if option.kind == self.kind)
        return acp.RequestPermissionResponse(
            outcome=schema.AllowedOutcome(outcome="selected", option_id=chosen)
        )

    async def session_update(self, session_id: str, update: Any, **_: Any) -> None:
        self.updates.append(update)
        if getattr(update, "status", None) == "in_progress":
            self.working.set()

    async def create_elicitation(self, message: str, mode: Any, **_: Any) -> schema.AcceptElicitationResponse:
        return schema.AcceptElicitationResponse(action="accept", content={"name": message})

    def said(self) -> str:
        chunks = [update for update in self.updates if isinstance(update, schema.AgentMessageChunk)]
        return "".join(
            chunk.content.text for chunk in chunks if isinstance(chunk.content, schema.TextContentBlock)
        )


Scene = Callable[[acp.Agent, Editor], Awaitable[None]]
Play = Callable[..., None]


@pytest.fixture(params=["stdio", "websocket"])
def play(home: Home, tmp_path: Path, url: str, token: str, request: pytest.FixtureRequest) -> Play:
    """Plays a scene as a client of `trio-broker acp WORDS`, which is the demo agent unless they say otherwise.

    Over the WebSocket there are no words: a scene that has some is over stdio alone.
    """

    @asynccontextmanager
    async def over_stdio(client: acp.Client, words: tuple[str, ...]) -> AsyncGenerator[acp.Agent, None]:
        argv = [*TRIO_BROKER, "acp", *(words or ("-a", "demo"))]
        async with acp.spawn_agent_process(
            client, *argv, env=home.env, cwd=tmp_path, use_unstable_protocol=True
        ) as (agent, process):
            yield agent
        assert process.returncode == 0, "the end of stdin is a good end"

    @asynccontextmanager
    async def over_websocket(client: acp.Client, words: tuple[str, ...]) -> AsyncGenerator[acp.Agent, None]:
        if words:
            pytest.skip("which agent it is, is said with the URL")
        stream = await create_websocket_stream(url, headers={"Authorization": f"Bearer {token}"})
        agent = acp.connect_to_agent(client, stream, use_unstable_protocol=True)
        yield agent
        await agent.close()

    connected = over_stdio if request.param == "stdio" else over_websocket

    def play(scene: Scene, *words: str, kind: str = "allow_once") -> None:
        async def main() -> None:
            async with asyncio.timeout(LIMIT):
                editor = Editor(kind)
                client = cast(acp.Client, editor)  # which has no file system and no terminal to offer
                async with connected(client, words) as agent:
                    form = schema.ElicitationCapabilities(form=schema.ElicitationFormCapabilities())
                    can = schema.ClientCapabilities(elicitation=form)
                    await agent.initialize(protocol_version=acp.PROTOCOL_VERSION, client_capabilities=can)
                    await scene(agent, editor)

        asyncio.run(main())

    return play


async def open_session(agent: acp.Agent, cwd: Path) -> str:
    return (await agent.new_session(cwd=str(cwd), mcp_servers=[])).session_id


async def fails(call: Awaitable[object]) -> acp.RequestError:
    with pytest.raises(acp.RequestError) as caught:
        await call
    return caught.value


def test_a_turn_with_everything_in_it(play: Play, tmp_path: Path) -> None:
    async def scene(agent: acp.Agent, editor: Editor) -> None:
        again = await agent.initialize(protocol_version=acp.PROTOCOL_VERSION)
        assert (
            again.protocol_version == 1 and again.agent_info is not None and again.agent_info.name == "demo"
        )
        opened = await agent.new_session(cwd=str(tmp_path), mcp_servers=[])
        assert opened.modes is not None and opened.modes.current_mode_id == "ask"
        ended = await agent.prompt(session_id=opened.session_id, prompt=HI)
        assert ended.stop_reason == "end_turn"
        kinds = {type(update) for update in editor.updates}
        assert {schema.AgentThoughtChunk, schema.AgentPlanUpdate, schema.UsageUpdate} <= kinds
        assert {schema.ToolCallStart, schema.ToolCallProgress, schema.AgentMessageChunk} <= kinds
        assert editor.asked == ["Apply the change to greet.py"]
        assert "“type the greeting”" in editor.said() and "I made greet() typed" in editor.said()

    play(scene)


def test_a_permission_that_is_refused(play: Play, tmp_path: Path) -> None:
    async def scene(agent: acp.Agent, editor: Editor) -> None:
        session = await open_session(agent, tmp_path)
        await agent.prompt(session_id=session, prompt=HI)
        assert "I left greet.py as it was" in editor.said()

    play(scene, kind="reject_once")


def test_a_mode_that_is_set_holds(play: Play, tmp_path: Path) -> None:
    async def scene(agent: acp.Agent, editor: Editor) -> None:
        session = await open_session(agent, tmp_path)
        await agent.set_session_mode(session_id=session, mode_id="code")
        await agent.prompt(session_id=session, prompt=HI)
        assert editor.asked == [] and "I made greet() typed" in editor.said()

    play(scene)


def test_a_cancel_in_mid_turn(play: Play, tmp_path: Path) -> None:
    async def scene(agent: acp.Agent, editor: Editor) -> None:
        session = await open_session(agent, tmp_path)
        turn = asyncio.create_task(agent.prompt(session_id=session, prompt=words("build 600")))
        await editor.working.wait()
        await agent.cancel(session_id=session)
        assert (await turn).stop_reason == "cancelled"
        assert (await agent.prompt(session_id=session, prompt=HI)).stop_reason == "end_turn"

    play(scene)


def test_a_busy_session_does_not_hold_up_another_of_the_same_client(play: Play, tmp_path: Path) -> None:
    async def scene(agent: acp.Agent, editor: Editor) -> None:
        busy, other = await open_session(agent, tmp_path), await open_session(agent, tmp_path)
        turn = asyncio.create_task(agent.prompt(session_id=busy, prompt=words("build 600")))
        await editor.working.wait()
        assert (await agent.prompt(session_id=other, prompt=HI)).stop_reason == "end_turn"
        assert not turn.done()
        await agent.cancel(session_id=busy)
        assert (await turn).stop_reason == "cancelled"

    play(scene)


def test_a_load_replays_what_was_said(play: Play, tmp_path: Path) -> None:
    async def scene(agent: acp.Agent, editor: Editor) -> None:
        session = await open_session(agent, tmp_path)
        await agent.prompt(session_id=session, prompt=HI)
        live = editor.said()
        editor.updates.clear()
        await agent.load_session(session_id=session, cwd=str(tmp_path), mcp_servers=[])
        assert editor.said() == live != ""
        assert {schema.UserMessageChunk, schema.ToolCallStart} <= {type(update) for update in editor.updates}
        assert (await agent.prompt(session_id=session, prompt=HI)).stop_reason == "end_turn"

    play(scene)


def test_list_and_close(play: Play, tmp_path: Path) -> None:
    async def scene(agent: acp.Agent, editor: Editor) -> None:
        first, second = await open_session(agent, tmp_path), await open_session(agent, tmp_path)
        listed = await agent.list_sessions(cwd=str(tmp_path))
        assert {one.session_id for one in listed.sessions} == {first, second}
        await agent.close_session(session_id=first)
        listed = await agent.list_sessions(cwd=str(tmp_path))
        assert [(one.session_id, one.cwd) for one in listed.sessions] == [(second, str(tmp_path))]
        assert (await fails(agent.prompt(session_id=first, prompt=HI))).code == -32002

    play(scene)


def test_errors_arrive_with_code_message_and_data(play: Play, tmp_path: Path) -> None:
    """RACES C18."""

    async def scene(agent: acp.Agent, editor: Editor) -> None:
        session = await open_session(agent, tmp_path)
        unknown = await fails(agent.prompt(session_id="no such session", prompt=HI))
        assert unknown.code == -32002 and unknown.data["kind"] == "no_session"  # type: ignore[index]  # or it fails
        mode = await fails(agent.set_session_mode(session_id=session, mode_id="no such mode"))
        assert (mode.code, str(mode)) == (-32602, "unknown mode 'no such mode'")
        nowhere = await fails(agent.new_session(cwd="/no/such/place", mcp_servers=[]))
        assert nowhere.code == -32602 and "there is no directory /no/such/place" in str(nowhere)
        assert (await fails(agent.ext_method("trio_broker/frobnicate", {}))).code == -32601

    play(scene)


def test_what_only_the_agent_knows_passes_through(play: Play, tmp_path: Path) -> None:
    """Options, an elicitation, and a method of the agent's own."""

    async def scene(agent: acp.Agent, editor: Editor) -> None:
        session = await open_session(agent, tmp_path)
        changed = await agent.set_config_option(config_id="model", session_id=session, value="large")
        assert changed is not None and changed.config_options[0].current_value == "large"
        await agent.prompt(session_id=session, prompt=words("elicit"))
        assert '"action": "accept"' in editor.said() and "Your name?" in editor.said()
        sent = {"sessionId": session, "über": [1, None, {"a": 2.5}]}
        assert await agent.ext_method("echo", sent) == sent

    play(scene, "--", *FAKE)


AGENT = shlex.join([sys.executable, str(HERE / "agent.py")])


def test_its_agent_under_the_broker(home: Home, tmp_path: Path) -> None:
    words = ("-s", str(tmp_path), "--command", AGENT, "--format", "quiet")
    yes = home.run("prompt", "hello", "--approve-all", *words, cwd=tmp_path)
    assert (yes.returncode, yes.stdout) == (0, "you said: hello; you chose: yes\n"), yes.stderr
    no = home.run("prompt", "again", "--deny-all", *words, cwd=tmp_path)
    assert (no.returncode, no.stdout) == (5, "you said: again; you chose: no\n")
    cancelled = home.run("prompt", "wait", "--timeout", "2", *words, cwd=tmp_path)
    assert (cancelled.returncode, cancelled.stdout) == (3, "you said: wait; \n")
    failed = home.run("prompt", "fail", *words, cwd=tmp_path)
    assert failed.returncode == 1 and 'error -32123: no credit: {"left": 0}' in failed.stderr
    closed = home.json("sessions", "close", "-s", str(tmp_path))
    assert closed["exit"] == {"exitCode": 0, "signal": None}, "it ends with its stdin"


def test_its_client_and_its_agent_with_the_broker_between_them(play: Play, tmp_path: Path) -> None:
    async def scene(agent: acp.Agent, editor: Editor) -> None:
        session = await open_session(agent, tmp_path)
        assert (await agent.prompt(session_id=session, prompt=HI)).stop_reason == "end_turn"
        assert editor.said() == "you said: type the greeting; you chose: yes"
        assert editor.asked == ["edit it"]

    play(scene, "--", *shlex.split(AGENT))


# Starting it takes most of a second: what SDKs may differ in, and the standing rules.
CHECKED = select_checks(
    [
        "initialize.newer",
        "ids.digits",
        "lines.[bn]*",
        "session.two",
        "cancel.other",
        "ask.cancel",
        "end.turn",
        "messages",
    ]
)


async def test_its_agent_and_the_battery(home: Home, tmp_path: Path) -> None:
    """What the SDK itself does not survive, the broker keeps away from it."""
    wanted = Settings(str(tmp_path), long="wait", quiet=0.1)
    alone = await run(Program(shlex.split(AGENT)), wanted, CHECKED, observed=CHECKED, jobs=2)
    assert failed(alone) == {
        "lines.batch",
        "lines.no-object",
    }  # the SDK's reader raises, and the process ends
    assert home.run("up").returncode == 0
    behind = await run(
        Endpoint(str(home.socket), bind={"command": shlex.split(AGENT)}),
        wanted,
        CHECKED,
        observed=CHECKED,
        jobs=2,
    )
    assert failed(behind) == set()


def failed(report: Report) -> set[str]:
    return {one.check.id for one in report.results if one.verdict is Verdict.FAIL}
