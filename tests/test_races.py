"""Every known race, A1 to G9: a test has its id in its name, or the table here says why it can't happen.

The ids are those of the project's list of races that such brokers have had. Who adds what a row says is not there
takes the row out, and puts a test in its place.
"""

from __future__ import annotations

import ast
import re
import time
from itertools import chain
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from trio_broker.testing.in_process.memory_agent import Habits
from trio_broker.testing.in_process.rig import open_rig, settings

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "trio_broker"
IDS = [
    f"{letter}{number}"
    for letter, last in (("a", 9), ("b", 18), ("c", 26), ("d", 10), ("e", 12), ("f", 13), ("g", 9))
    for number in range(1, last + 1)
]

# Why it can't happen here, and what would bring it back.
UNTHINKABLE = {
    "b12": "A session has no token of its own: tokens belong to connections. One for each agent brings it back.",
    "c20": "Nothing is sent to a sink from the task that runs a turn: each client is a cursor on the log with a writer "
    "of its own. A session that awaits a client brings it back.",
    "c21": "There is no final send: the text is in the log, whoever heard it. A bridge that delivers only once does.",
    "c25": "The broker does not judge a prompt: blocks pass as they came, and the agent's refusal goes to "
    "the caller whole (C18). A broker that makes blocks itself brings it back.",
    "e4": "No reply context is kept with a session: an answer goes to the connection that asked, and dies with it. A "
    "bridge that holds a channel across reconnections brings it back.",
    "e5": "A connection waits for no other and for no turn: it is a task of its own. A shared dispatcher does.",
    "e9": "A session's queue has one lane, first come, first served. Lanes for each sender bring it back.",
    "e10": "Prompts are never merged or split. The mode `batch`, when it is built, does.",
}


def names_of_tests() -> set[str]:
    found: set[str] = set()
    for path in TESTS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                found.add(node.name)
            elif (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and node.value.startswith("TestG9")
            ):
                found.add("test_g9_" + node.value)
    return found


def ids_in(name: str) -> list[str]:
    return re.findall(r"(?<=_)[a-g]\d+(?=_)", name)


def test_every_race_has_a_test_or_a_reason() -> None:
    tested = set(chain.from_iterable(map(ids_in, names_of_tests())))
    assert [id for id in IDS if id not in tested and id not in UNTHINKABLE] == []
    assert tested & UNTHINKABLE.keys() == set(), "it has a test: take the reason out"
    assert UNTHINKABLE.keys() <= set(IDS)


def test_c11_only_turns_send_prompts() -> None:
    daemon = {path.stem: path.read_text(encoding="utf-8") for path in PACKAGE.glob("[!ct]*/**/*.py")}
    assert [name for name, text in daemon.items() if 'request("session/prompt"' in text] == ["turn_queue"]


async def test_c11_a_config_call_that_fails_leaves_no_turn(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        mute = Habits(mute=frozenset({"session/set_config_option"}))
        async with open_rig(habits=mute) as rig, rig.connect() as user:
            session = await user.open("k")
            params = {"sessionId": session, "configId": "model", "value": "large"}
            setting = user.later(user.call, "session/set_config_option", **params)
            await trio.sleep(300)
            assert not setting.done and rig.agent("k").prompts() == []
            assert (await user.view("k"))["phase"] == "idle"
            assert await user.prompt(session, "say a") == "end_turn"
            assert rig.agent("k").prompts() == ["say a"]


async def test_e12_a_prompt_that_is_sent_twice_runs_once(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig() as rig, rig.connect() as user:
            session = await user.open("k")
            for _ in range(2):
                await user.submit(session, "say a", promptId="the same")
            await user.call("_trio_broker/wait", key="k", until="idle")
            await user.submit(session, "say a", promptId="the same")
            await user.call("_trio_broker/wait", key="k", until="idle")
            assert rig.agent("k").prompts() == ["say a"]


@pytest.mark.parametrize("jump", [-86400.0, 86400.0])
async def test_g3_a_jump_of_the_wall_clock_makes_nobody_idle(
    jump: float, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    real = time.time
    with trio.fail_after(600):
        async with open_rig(settings(idle_ttl=40), Habits(resume=True)) as rig:
            async with rig.connect() as user:
                await user.open("k")
            monkeypatch.setattr(time, "time", lambda: real() + jump)
            await trio.sleep(30)
            assert len(rig.agents.alive()) == 1, "it was used half a minute ago"
            await trio.sleep(40)
            assert rig.agents.alive() == [], "and now it was not for longer"
