"""The scripted agent, spoken to over real pipes: other tests rely on each of these behaviours."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from trio_broker.testing import agent
from trio_broker.testing.processes.agent_process import LIMIT, AgentProcess, Json, said, updates
from trio_broker.testing.scripted_agent import help_text
from trio_broker.testing.scripted_agent.agent import FLAGS
from trio_broker.testing.scripted_agent.script import ACTIONS

SCHEMA = Path(__file__).parents[1] / "wire" / "schema" / "schema.json"
ARGV = [sys.executable, "-m", "trio_broker.testing.agent"]  # where coverage can see it, which -S keeps out
HEAVY = {
    *("argparse", "asyncio", "dataclasses", "inspect", "logging", "pathlib", "socket", "subprocess", "trio"),
}
BY_PATH = [sys.executable, "-S", "-E", agent.__file__]  # as the other tests start it


@contextmanager
def fake(*flags: str, **popen: Any) -> Iterator[AgentProcess]:
    """It ends by itself if it can: who is killed leaves no trace of what was covered."""
    with AgentProcess([*ARGV, *flags], **popen) as talk:
        yield talk
        if talk.process.stdin is not None and not talk.process.stdin.closed:
            with suppress(subprocess.TimeoutExpired):
                _hang_up_briefly(talk)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def validator(name: str) -> Draft202012Validator:
    if not SCHEMA.exists():
        pytest.skip("the published schema is not here")
    schema = json.loads(SCHEMA.read_text())
    return Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": schema["$defs"]})


def stop_reason(messages: list[Json]) -> object:
    return messages[-1]["result"]["stopReason"]


def test_it_starts_fast() -> None:
    """Counted in modules, as time differs between machines."""
    argv = [sys.executable, "-X", "importtime", *BY_PATH[1:]]
    told = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT, check=True
    ).stderr
    imported = {line.rpartition("|")[2].strip() for line in told.splitlines()}
    assert "trio_broker.testing.scripted_agent.agent" in imported, "importtime tells what is imported"
    assert imported & HEAVY == set()


@pytest.mark.parametrize(
    "argv", [ARGV, BY_PATH, [sys.executable, agent.__file__]], ids=["as a module", "by its path", "as a file"]
)
def test_the_ways_to_start_it(argv: list[str]) -> None:
    with AgentProcess([*argv, "--name", "X"]) as talk:
        assert talk.call("initialize", protocolVersion=1)["result"]["agentInfo"]["name"] == "X"
        talk.start()
        assert said(talk.turn("say hello")) == "hello"
        assert talk.hang_up() == 0


def test_an_unknown_flag_is_told() -> None:
    done = subprocess.run([*ARGV, "--nope"], capture_output=True, timeout=LIMIT, check=False)
    assert done.returncode == 1
    assert b"unknown flag '--nope'" in done.stderr and b"--slow-start" in done.stderr


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_its_help_has_every_flag_and_every_word_of_a_prompt(word: str) -> None:
    done = subprocess.run([*ARGV, word], capture_output=True, text=True, timeout=LIMIT, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(help_text.action_names()) == sorted(ACTIONS)
    shown = {line.split()[0].rstrip(",") for line in done.stdout.splitlines() if line.startswith("  ")}
    assert shown | {"echo", "fds", "pid", "cwd", "prompt"} == ACTIONS.keys() | FLAGS.keys()


def test_what_it_says_fits_the_published_schema() -> None:
    script = "say a; think b; tool read it; plan; hello"
    notification = validator("SessionNotification")
    with fake("--early-update") as talk:
        validator("InitializeResponse").validate(talk.call("initialize", protocolVersion=1)["result"])
        early, new = talk.until(talk.request("session/new", cwd="/tmp", mcpServers=[]))
        validator("NewSessionResponse").validate(new["result"])
        talk.session = new["result"]["sessionId"]
        *turn, response = talk.turn(script)
        validator("PromptResponse").validate(response["result"])
        for message in [early, *turn]:
            notification.validate(message["params"])


def test_other_text_is_echoed_whole() -> None:
    with fake() as talk:
        talk.start()
        assert (
            said(talk.turn("hello; wait for me\nplan the trip")) == "echo: hello; wait for me\nplan the trip"
        )
        assert said(talk.turn("say a; b")) == "aecho: b"
        assert said(talk.turn("")) == "echo: "


def test_it_says_thinks_and_echoes() -> None:
    with fake() as talk:
        talk.start()
        tags = [update["sessionUpdate"] for update in updates(talk.turn("say hi; think hm; echo x y; plan"))]
        assert tags == ["agent_message_chunk", "agent_thought_chunk", "agent_message_chunk", "plan"]


def test_a_tool_call_goes_through_its_states() -> None:
    with fake() as talk:
        talk.start()
        call, running, done = updates(talk.turn("tool search the code 0.01"))
        assert (call["title"], call["kind"], call["status"]) == ("search the code", "search", "pending")
        assert (running["status"], done["status"]) == ("in_progress", "completed")


@pytest.mark.parametrize("act", ["hang", "wait 600", "tool build 600", "hang; say never"])
def test_a_cancel_ends_the_act_and_the_turn_at_once(act: str) -> None:
    with fake() as talk:
        talk.start()
        prompt = talk.prompt(f"say started; {act}")
        assert talk.message()["params"]["update"]["content"]["text"] == "started"
        talk.cancel()
        rest = talk.until(prompt)
        assert stop_reason(rest) == "cancelled"
        assert "never" not in said(rest)
        assert stop_reason(talk.turn("say again")) == "end_turn"


def test_a_cancel_may_be_answered_with_an_error() -> None:
    with fake("--error-on-cancel") as talk:
        talk.start()
        prompt = talk.prompt("hang")
        talk.cancel()
        assert talk.until(prompt)[-1]["error"]["code"] == -32603


def test_hang_hard_ignores_the_cancel_but_the_agent_answers() -> None:
    with fake() as talk:
        talk.start()
        talk.prompt("hang-hard")
        talk.cancel()
        assert talk.until(talk.request("_echo", a=1)) == [{"jsonrpc": "2.0", "id": 4, "result": {"a": 1}}]
        assert talk.until(talk.prompt("say x"))[-1]["error"]["code"] == -32600


@pytest.mark.parametrize(
    ("outcome", "word"),
    [({"outcome": "selected", "optionId": "always"}, "always"), ({"outcome": "cancelled"}, "cancelled")],
)
@pytest.mark.parametrize("act", ["ask edit it", "collide", "string-id-ask"])
def test_an_ask_says_what_was_chosen(act: str, outcome: Json, word: str) -> None:
    with fake() as talk:
        talk.start()
        prompt = talk.prompt(act)
        ask = talk.message()
        assert ask["method"] == "session/request_permission"
        assert (ask["id"] == prompt) == (act == "collide")
        assert isinstance(ask["id"], str) == (act == "string-id-ask")
        validator("RequestPermissionRequest").validate(ask["params"])
        talk.send(id=ask["id"], result={"outcome": outcome})
        assert said(talk.until(prompt)) == word


def test_an_elicitation_says_what_came_back() -> None:
    with fake() as talk:
        talk.start()
        prompt = talk.prompt("elicit")
        asked = talk.message()
        validator("CreateElicitationRequest").validate(asked["params"])
        talk.send(id=asked["id"], result={"action": "decline"})
        assert said(talk.until(prompt)) == '{"action": "decline"}'


def test_an_unknown_request_says_the_error() -> None:
    with fake() as talk:
        talk.start()
        prompt = talk.prompt("unknown-request")
        asked = talk.message()
        assert asked["method"] == "_x/unknown"
        talk.send(id=asked["id"], error={"code": -32601, "message": "no"})
        assert said(talk.until(prompt)) == "error -32601"


def test_flood_and_big() -> None:
    with fake() as talk:
        talk.start()
        flood = updates(talk.turn("flood 1000 50"))
        assert len(flood) == 1000 and all(len(one["content"]["text"]) == 50 for one in flood)
        prompt = talk.prompt("big 2000000")
        line = talk.line()
        assert len(line) == 2_000_001 and json.loads(line)["method"] == "session/update"
        talk.until(prompt)


def test_lines_that_are_no_messages() -> None:
    with fake("--banner") as talk:
        assert talk.line().startswith(b"Welcome")
        talk.start()
        talk.prompt("garbage; bad-utf8")
        assert talk.line().startswith(b"npm warn")
        with pytest.raises(UnicodeDecodeError):
            talk.line().decode()


def test_replies_that_belong_to_nothing() -> None:
    with fake() as talk:
        talk.start()
        first = talk.prompt("wrong-id; stale-reply; double-reply; late 2")
        ids = [talk.message()["id"] for _ in range(4)]
        assert ids == [987654321, 2, first, first]
        assert said([talk.message(), talk.message()]) == "late 0late 1"
        second = talk.prompt("stale-reply")
        assert [talk.message()["id"], talk.message()["id"]] == [first, second]


def test_an_update_of_another_session() -> None:
    with fake() as talk:
        talk.start()
        assert talk.turn("foreign")[0]["params"]["sessionId"] != talk.session


def test_how_a_turn_may_end() -> None:
    with fake() as talk:
        talk.start()
        assert stop_reason(talk.turn("stop refusal")) == "refusal"
        assert talk.turn("error -32000 log in first")[-1]["error"] == {
            "code": -32000,
            "message": "log in first",
        }


@pytest.mark.parametrize(
    ("act", "code"), [("die 7", 7), ("kill KILL", -9), ("kill SIGTERM", -15), ("kill 6", -6)]
)
def test_how_the_process_may_end(act: str, code: int) -> None:
    with fake() as talk:
        talk.start()
        talk.prompt(f"{act}; say never")
        assert talk.line() == b""
        assert talk.process.wait(LIMIT) == code


def test_it_may_end_in_the_moment_after_its_answer() -> None:
    with fake() as talk:
        talk.start()
        assert stop_reason(talk.turn("say last; exit 3")) == "end_turn"
        assert talk.line() == b""
        assert talk.process.wait(LIMIT) == 3


def test_stdout_may_close_while_it_lives_on() -> None:
    with fake() as talk:
        talk.start()
        talk.prompt("close-stdout")
        assert talk.line() == b""
        assert talk.process.poll() is None
        assert talk.hang_up() == 0


def test_it_ends_when_nobody_reads_what_it_says() -> None:
    with subprocess.Popen(ARGV, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdout.close()
        process.stdin.write(b'{"jsonrpc":"2.0","id":1,"method":"_echo"}\n')
        process.stdin.flush()
        assert process.wait(LIMIT) == 1


def test_stderr_is_written_to_the_byte() -> None:
    with fake("--stderr", "hello") as talk:
        talk.start()
        talk.turn("stderr 100000")
        talk.hang_up()
        talk.line()
    assert len(talk.stderr) == 100_000 + len("hello\n")


@pytest.mark.parametrize(("act", "same_group"), [("fork-child", True), ("setsid-child", False)])
def test_a_child_holds_stdout(act: str, same_group: bool) -> None:
    with fake() as talk:
        talk.start()
        child = int(said(talk.turn(act)))
        try:
            assert (os.getpgid(child) == talk.process.pid) == same_group
            assert talk.hang_up() == 0
            with pytest.raises(queue.Empty):
                talk.line(0.1)
            assert alive(child)
        finally:
            os.kill(child, signal.SIGKILL)
        assert talk.line() == b""


def test_what_it_says_of_itself(tmp_path: Path) -> None:
    with fake(env={**os.environ, "A": "b"}, cwd=tmp_path) as talk:
        talk.start("/somewhere")
        assert json.loads(said(talk.turn("env")))["A"] == "b"
        assert said(talk.turn("pid")) == str(talk.process.pid)
        assert said(talk.turn("cwd")) == str(tmp_path)
        assert json.loads(said(talk.turn("session")))["cwd"] == "/somewhere"
        assert json.loads(said(talk.turn("prompt")))["prompt"] == [{"type": "text", "text": "prompt"}]
        assert list(json.loads(said(talk.turn("fds")))) == ["0", "1", "2"]


@pytest.mark.parametrize("by_flag", [True, False])
def test_sigterm_may_be_ignored(by_flag: bool) -> None:
    with fake(*["--ignore-term"] * by_flag) as talk:
        talk.start()
        talk.turn("say x" if by_flag else "ignore-term")
        talk.process.terminate()
        assert said(talk.turn("say alive")) == "alive"
        assert talk.hang_up() == 0


def test_sigterm_ends_it_otherwise() -> None:
    with fake() as talk:
        talk.start()
        talk.prompt("say x; hang")
        talk.message()
        talk.process.terminate()
        assert talk.process.wait(LIMIT) == -signal.SIGTERM


def test_the_end_of_stdin_may_be_ignored() -> None:
    with fake("--ignore-eof") as talk:
        talk.start()
        with pytest.raises(subprocess.TimeoutExpired):
            _hang_up_briefly(talk)
        talk.process.terminate()
        assert talk.process.wait(LIMIT) == -signal.SIGTERM


def _hang_up_briefly(talk: AgentProcess) -> None:
    assert talk.process.stdin is not None
    talk.process.stdin.close()
    talk.process.wait(0.5)


def test_ways_not_to_start() -> None:
    assert subprocess.run([*ARGV, "--exit-at-start", "3"], timeout=LIMIT, check=False).returncode == 3
    with fake("--no-start") as talk:
        talk.request("initialize", protocolVersion=1)
        assert talk.call("_echo")["id"] == 2  # the answer to the first would have come first
    begin = time.monotonic()
    with fake("--slow-start", "0.3") as talk:
        talk.call("initialize", protocolVersion=1)
        assert time.monotonic() - begin > 0.25
    with fake("--protocol", "7") as talk:
        assert talk.call("initialize", protocolVersion=1)["result"]["protocolVersion"] == 7


def test_authentication() -> None:
    with fake("--auth") as talk:
        method = talk.call("initialize", protocolVersion=1)["result"]["authMethods"][0]["id"]
        assert talk.call("session/new", cwd="/", mcpServers=[])["error"]["code"] == -32000
        assert talk.call("authenticate", methodId="nope")["error"]["code"] == -32602
        assert talk.call("authenticate", methodId=method)["result"] == {}
        assert "result" in talk.call("session/new", cwd="/", mcpServers=[])
        assert talk.call("logout")["result"] == {}
        assert talk.call("session/new", cwd="/", mcpServers=[])["error"]["code"] == -32000


def test_load_replays() -> None:
    with fake("--load") as talk:
        assert (
            talk.call("initialize", protocolVersion=1)["result"]["agentCapabilities"]["loadSession"] is True
        )
        *replay, response = talk.until(talk.request("session/load", sessionId="old", cwd="/", mcpServers=[]))
        assert [one["sessionUpdate"] for one in updates(replay)] == [
            "user_message_chunk",
            "agent_message_chunk",
        ]
        validator("LoadSessionResponse").validate(response["result"])
    with fake() as talk:
        assert talk.call("session/load", sessionId="old", cwd="/", mcpServers=[])["error"]["code"] == -32601


def test_the_other_requests() -> None:
    with fake() as talk:
        state = talk.start("/work")
        assert [mode["id"] for mode in state["modes"]["availableModes"]] == ["ask", "code"]
        session = {"sessionId": talk.session}
        assert talk.call("session/set_mode", modeId="code", **session)["result"] == {}
        assert talk.call("session/set_mode", modeId="x", **session)["error"]["code"] == -32602
        options = talk.call("session/set_config_option", configId="model", value="large", **session)["result"]
        validator("SetSessionConfigOptionResponse").validate(options)
        assert options["configOptions"][0]["currentValue"] == "large"
        assert (
            talk.call("session/set_config_option", configId="x", value="y", **session)["error"]["code"]
            == -32602
        )
        assert talk.call("session/list")["result"]["sessions"] == [{"cwd": "/work", **session}]
        assert talk.call("session/list", cwd="/other")["result"]["sessions"] == []
        assert talk.call("session/close", **session)["result"] == {}
        assert talk.call("session/prompt", prompt=[], **session)["error"]["code"] == -32002
        assert talk.call("session/fork", **session)["error"]["code"] == -32601


def test_nonsense_is_answered_and_survived() -> None:
    with fake() as talk:
        talk.write(b"{\n\n5\n")
        assert [talk.message()["error"]["code"], talk.message()["error"]["code"]] == [-32700, -32600]
        talk.notify("session/cancel", sessionId="none")
        talk.notify("$/nothing")
        talk.send(id=99, result={})
        talk.start()


def test_deaf_reads_nothing_after_the_session() -> None:
    with fake("--deaf") as talk:
        talk.start()
        talk.prompt("say x")
        with pytest.raises(queue.Empty):
            talk.line(0.2)


def test_read_late_reads_on_only_when_its_stdout_was_consumed() -> None:
    with fake("--read-late") as talk:
        talk.start()
        messages = talk.turn("say " + "x" * 200_000)
        assert sum(len(json.dumps(message)) for message in messages) > 2**20
        assert said(messages).endswith("x" * 200_000)


def test_ask_late_asks_for_a_permission_while_it_reads_nothing() -> None:
    with fake("--ask-late") as talk:
        talk.start()
        messages = talk.turn("say " + "x" * 200_000)
        asked = [place for place, message in enumerate(messages) if message.get("id") == "late"]
        assert len(asked) == 1 and 100 < asked[0] < len(messages) - 100


def test_the_log_lets_spawns_and_frames_be_counted(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for _ in range(2):
        with fake("--log", str(log)) as talk:
            talk.start()
            talk.turn("say x")
    lines = [line.split(" ", 1) for line in log.read_text().splitlines()]
    assert len({pid for pid, _ in lines}) == 2
    assert [json.loads(frame)["method"] for _, frame in lines][:3] == [
        "initialize",
        "session/new",
        "session/prompt",
    ]


def test_what_it_tells_of_itself_fits_the_published_schema() -> None:
    script = "usage; usage 5 10; title New title; commands a b; mode code; config large"
    with fake() as talk:
        talk.start()
        *turn, _ = talk.turn(script)
        for message in turn:
            validator("SessionNotification").validate(message["params"])
        told = updates(turn)
    assert [(one["used"], one["size"]) for one in told[:2]] == [(1000, 200_000), (5, 10)]
    assert (told[2]["title"], [one["name"] for one in told[3]["availableCommands"]]) == (
        "New title",
        ["a", "b"],
    )
    assert (told[4]["currentModeId"], told[5]["configOptions"][0]["currentValue"]) == ("code", "large")


def test_raw_bytes_and_one_byte_at_a_time() -> None:
    with fake() as talk:
        talk.start()
        talk.prompt(r"raw \xff\x00{\n; dribble drop by drop")
        assert talk.line() == b"\xff\x00{\n"
        assert talk.message()["params"]["update"]["content"]["text"] == "drop by drop"


def test_a_turn_of_its_own_follows_the_answer() -> None:
    with fake() as talk:
        talk.start()
        assert stop_reason(talk.turn("say asked; own-turn by myself")) == "end_turn"
        tags = [talk.message()["params"]["update"]["sessionUpdate"] for _ in range(6)]
        assert tags[0] == "agent_thought_chunk" and tags[1] == "tool_call" and tags[-1] == "usage_update"


def test_a_cancel_may_be_ignored_for_the_rest_of_a_turn() -> None:
    with fake() as talk:
        talk.start()
        prompt = talk.prompt("ignore-cancel; say on; wait 0.3; say done")
        talk.message()
        talk.cancel()
        rest = talk.until(prompt)
        assert (said(rest), stop_reason(rest)) == ("done", "end_turn")
        prompt = talk.prompt("say on; hang")
        talk.message()
        talk.cancel()
        assert stop_reason(talk.until(prompt)) == "cancelled"


@pytest.mark.parametrize("act", ["ignore-eof", "deaf"])
def test_the_end_of_stdin_may_be_ignored_from_some_turn_on(act: str) -> None:
    with fake() as talk:
        talk.start()
        talk.turn(act)
        with pytest.raises(subprocess.TimeoutExpired):
            _hang_up_briefly(talk)


def test_it_reads_nothing_more_once_it_is_deaf() -> None:
    with fake() as talk:
        talk.start()
        talk.turn("deaf")
        talk.prompt("say x")
        with pytest.raises(queue.Empty):
            talk.line(0.2)


def test_its_memory_is_there_in_another_process(tmp_path: Path) -> None:
    memory = ("--memory", str(tmp_path))
    with fake(*memory) as talk:
        talk.start("/work")
        talk.turn("think hm; say hello; usage")
        session = {"sessionId": talk.session}
    where = {**session, "cwd": "/work", "mcpServers": []}
    with fake(*memory) as talk:
        talk.call("initialize", protocolVersion=1)
        assert talk.call("session/list", cwd="/work")["result"]["sessions"] == [{"cwd": "/work", **session}]
        *replay, response = talk.until(talk.request("session/load", **where))
        assert "result" in response
        tags = [one["sessionUpdate"] for one in updates(replay)]
        assert tags == ["user_message_chunk", "agent_thought_chunk", "agent_message_chunk"]
        talk.session = talk.session or session["sessionId"]
        assert said(talk.turn("say more")) == "more"
    with fake(*memory) as talk:
        *replay, response = talk.until(talk.request("session/resume", **where))
        assert (replay, "result" in response) == ([], True)
        assert talk.call("session/delete", **session)["result"] == {}
        assert talk.call("session/delete", **session)["result"] == {}
        assert talk.call("session/load", **where)["error"]["code"] == -32002
        assert talk.call("session/list")["result"]["sessions"] == []


def test_what_it_can_not_do_without_a_memory_it_refuses() -> None:
    with fake() as talk:
        talk.start()
        for method in ("session/resume", "session/delete"):
            assert talk.call(method, sessionId=talk.session)["error"]["code"] == -32601


def test_what_lacks_a_field_is_refused() -> None:
    with fake() as talk:
        talk.start()
        assert talk.call("session/new", mcpServers=[])["error"]["code"] == -32602
        assert talk.call("session/prompt", sessionId=talk.session)["error"]["code"] == -32602
