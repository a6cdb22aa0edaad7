"""The actions of the scripted agent, over real pipes: other tests rely on each of these behaviours."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from trio_broker.testing.processes.agent_process import (
    BRIEFLY,
    LIMIT,
    open_scripted_agent,
    said,
    stop_reason,
    updates,
)
from trio_broker.testing.processes.home import is_running

Validator = Callable[[str], Draft202012Validator]


def test_other_text_is_echoed_whole() -> None:
    with open_scripted_agent() as agent:
        agent.start()
        assert (
            said(agent.turn("hello; wait for me\nplan the trip")) == "echo: hello; wait for me\nplan the trip"
        )
        assert said(agent.turn("say a; b")) == "aecho: b"
        assert said(agent.turn("")) == "echo: "


def test_it_says_thinks_and_echoes() -> None:
    with open_scripted_agent() as agent:
        agent.start()
        tags = [update["sessionUpdate"] for update in updates(agent.turn("say hi; think hm; echo x y; plan"))]
        assert tags == ["agent_message_chunk", "agent_thought_chunk", "agent_message_chunk", "plan"]


def test_a_tool_call_goes_through_its_states() -> None:
    with open_scripted_agent() as agent:
        agent.start()
        call, running, done = updates(agent.turn("tool search the code 0.01"))
        assert (call["title"], call["kind"], call["status"]) == ("search the code", "search", "pending")
        assert (running["status"], done["status"]) == ("in_progress", "completed")


@pytest.mark.parametrize("act", ["hang", "wait 600", "tool build 600", "hang; say never"])
def test_a_cancel_ends_the_act_and_the_turn_at_once(act: str) -> None:
    with open_scripted_agent() as agent:
        agent.start()
        prompt = agent.prompt(f"say started; {act}")
        assert agent.message()["params"]["update"]["content"]["text"] == "started"
        agent.cancel()
        rest = agent.until(prompt)
        assert stop_reason(rest) == "cancelled"
        assert "never" not in said(rest)
        assert stop_reason(agent.turn("say again")) == "end_turn"


def test_hang_hard_ignores_the_cancel_but_the_agent_answers() -> None:
    with open_scripted_agent() as agent:
        agent.start()
        agent.prompt("hang-hard")
        agent.cancel()
        assert agent.until(agent.request("_echo", a=1)) == [{"jsonrpc": "2.0", "id": 4, "result": {"a": 1}}]
        assert agent.until(agent.prompt("say x"))[-1]["error"]["code"] == -32600


def test_flood_and_big() -> None:
    with open_scripted_agent() as agent:
        agent.start()
        flood = updates(agent.turn("flood 1000 50"))
        assert len(flood) == 1000 and all(len(one["content"]["text"]) == 50 for one in flood)
        prompt = agent.prompt("big 2000000")
        line = agent.line()
        assert len(line) == 2_000_001 and json.loads(line)["method"] == "session/update"
        agent.until(prompt)


def test_lines_that_are_no_messages() -> None:
    with open_scripted_agent("--banner") as agent:
        assert agent.line().startswith(b"Welcome")
        agent.start()
        agent.prompt("garbage; bad-utf8")
        assert agent.line().startswith(b"npm warn")
        with pytest.raises(UnicodeDecodeError):
            agent.line().decode()


def test_replies_that_belong_to_nothing() -> None:
    with open_scripted_agent() as agent:
        agent.start()
        first = agent.prompt("wrong-id; stale-reply; double-reply; late 2")
        ids = [agent.message()["id"] for _ in range(4)]
        assert ids == [987654321, 2, first, first]
        assert said([agent.message(), agent.message()]) == "late 0late 1"
        second = agent.prompt("stale-reply")
        assert [agent.message()["id"], agent.message()["id"]] == [first, second]


def test_an_update_of_another_session() -> None:
    with open_scripted_agent() as agent:
        agent.start()
        assert agent.turn("foreign")[0]["params"]["sessionId"] != agent.session


def test_how_a_turn_may_end() -> None:
    with open_scripted_agent() as agent:
        agent.start()
        assert stop_reason(agent.turn("stop refusal")) == "refusal"
        assert agent.turn("error -32000 log in first")[-1]["error"] == {
            "code": -32000,
            "message": "log in first",
        }


@pytest.mark.parametrize(
    ("act", "code"), [("die 7", 7), ("kill KILL", -9), ("kill SIGTERM", -15), ("kill 6", -6)]
)
def test_how_the_process_may_end(act: str, code: int) -> None:
    with open_scripted_agent() as agent:
        agent.start()
        agent.prompt(f"{act}; say never")
        assert agent.line() == b""
        assert agent.process.wait(LIMIT) == code


def test_it_may_end_in_the_moment_after_its_answer() -> None:
    with open_scripted_agent() as agent:
        agent.start()
        assert stop_reason(agent.turn("say last; exit 3")) == "end_turn"
        assert agent.line() == b""
        assert agent.process.wait(LIMIT) == 3


def test_stdout_may_close_while_it_lives_on() -> None:
    with open_scripted_agent() as agent:
        agent.start()
        agent.prompt("close-stdout")
        assert agent.line() == b""
        assert agent.process.poll() is None
        assert agent.hang_up() == 0


def test_stderr_is_written_to_the_byte() -> None:
    with open_scripted_agent("--stderr", "hello") as agent:
        agent.start()
        agent.turn("stderr 100000")
        agent.hang_up()
        agent.line()
    assert len(agent.stderr) == 100_000 + len("hello\n")


@pytest.mark.parametrize(("act", "same_group"), [("fork-child", True), ("setsid-child", False)])
def test_a_child_holds_stdout(act: str, same_group: bool) -> None:
    with open_scripted_agent() as agent:
        agent.start()
        child = int(said(agent.turn(act)))
        try:
            assert (os.getpgid(child) == agent.process.pid) == same_group
            assert agent.hang_up() == 0
            with pytest.raises(queue.Empty):
                agent.line(0.1)
            assert is_running(child)
        finally:
            os.kill(child, signal.SIGKILL)
        assert agent.line() == b""


def test_what_it_says_of_itself(tmp_path: Path) -> None:
    with open_scripted_agent(env={**os.environ, "A": "b"}, cwd=tmp_path) as agent:
        agent.start("/somewhere")
        assert json.loads(said(agent.turn("env")))["A"] == "b"
        assert said(agent.turn("pid")) == str(agent.process.pid)
        assert said(agent.turn("cwd")) == str(tmp_path)
        assert json.loads(said(agent.turn("session")))["cwd"] == "/somewhere"
        assert json.loads(said(agent.turn("prompt")))["prompt"] == [{"type": "text", "text": "prompt"}]
        assert list(json.loads(said(agent.turn("fds")))) == ["0", "1", "2"]


def test_what_it_tells_of_itself_fits_the_published_schema(validator: Validator) -> None:
    script = "usage; usage 5 10; title New title; commands a b; mode code; config large"
    with open_scripted_agent() as agent:
        agent.start()
        *turn, _ = agent.turn(script)
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
    with open_scripted_agent() as agent:
        agent.start()
        agent.prompt(r"raw \xff\x00{\n; dribble drop by drop")
        assert agent.line() == b"\xff\x00{\n"
        assert agent.message()["params"]["update"]["content"]["text"] == "drop by drop"


def test_a_turn_of_its_own_follows_the_answer() -> None:
    with open_scripted_agent() as agent:
        agent.start()
        assert stop_reason(agent.turn("say asked; own-turn by myself")) == "end_turn"
        tags = [agent.message()["params"]["update"]["sessionUpdate"] for _ in range(6)]
        assert tags[0] == "agent_thought_chunk" and tags[1] == "tool_call" and tags[-1] == "usage_update"


def test_a_cancel_may_be_ignored_for_the_rest_of_a_turn() -> None:
    with open_scripted_agent() as agent:
        agent.start()
        prompt = agent.prompt("ignore-cancel; say on; wait 0.3; say done")
        agent.message()
        agent.cancel()
        rest = agent.until(prompt)
        assert (said(rest), stop_reason(rest)) == ("done", "end_turn")
        prompt = agent.prompt("say on; hang")
        agent.message()
        agent.cancel()
        assert stop_reason(agent.until(prompt)) == "cancelled"


@pytest.mark.parametrize("act", ["ignore-eof", "deaf"])
def test_the_end_of_stdin_may_be_ignored_from_some_turn_on(act: str) -> None:
    with open_scripted_agent() as agent:
        agent.start()
        agent.turn(act)
        with pytest.raises(subprocess.TimeoutExpired):
            agent.hang_up(BRIEFLY)


def test_it_reads_nothing_more_once_it_is_deaf() -> None:
    with open_scripted_agent() as agent:
        agent.start()
        agent.turn("deaf")
        agent.prompt("say x")
        with pytest.raises(queue.Empty):
            agent.line(0.2)
