"""`compare`: one prompt, several agents at once, and no session left."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from trio_broker.testing.processes.home import CONFIG, FAKE, Home, eventually

OTHERS = f"""
[agents.other]
command = {json.dumps([*FAKE])}

[agents.broken]
command = {json.dumps([*FAKE, "--exit-at-start", "3", "--stderr", "no key"])}
"""
EVIL = "\x1b[2Jowned\x9b"


@pytest.fixture(scope="module")
def three() -> Iterator[Home]:
    with Home(CONFIG + OTHERS) as home:
        assert home.run("up").returncode == 0  # any of the tests may be the first
        yield home


def steady(text: str) -> str:
    return re.sub(r"\d+\.\ds", "AGO", text)


def left(home: Home) -> list[str]:
    return [view["key"] for view in home.status()["sessions"] if view["key"].startswith("compare:")]


def test_answers_come_one_after_the_other_in_the_order_named(three: Home) -> None:
    done = three.run("compare", "fake", "other", "wait 0.2; say hello")
    assert done.returncode == 0
    assert steady(done.stdout) == "== fake (end_turn, AGO)\nhello\n\n== other (end_turn, AGO)\nhello\n"
    assert sorted(steady(done.stderr).splitlines()) == ["[done] fake, AGO", "[done] other, AGO"]
    assert left(three) == []


def test_json_is_one_object(three: Home) -> None:
    done = three.run("compare", "fake", "broken", "say hello", "--format", "json")
    found = json.loads(done.stdout)
    assert (found["action"], found["prompt"]) == ("compared", "say hello")
    first, second = found["results"]
    assert (first["agent"], first["text"], first["outcome"], first["code"]) == (
        "fake",
        "hello",
        "end_turn",
        0,
    )
    assert (second["agent"], second["outcome"], second["code"]) == ("broken", None, 1)
    assert "its last words: no key" in second["error"] and done.returncode == 1


def test_an_agent_that_was_denied_everything_is_told_and_is_exit_5(three: Home) -> None:
    done = three.run("compare", "fake", "other", "ask edit it; say done")
    assert done.returncode == 5
    for agent in ("fake", "other"):
        assert f"trio-broker: {agent}: every permission it asked for was denied\n" in done.stderr
    assert three.run("compare", "fake", "ask read it", "--format", "quiet").returncode == 0


def test_quiet_is_the_answers_alone(three: Home) -> None:
    done = three.run("compare", "fake", "other", "say hello", "--format", "quiet")
    assert done.stdout == "hello\nhello\n"


def test_the_exit_code_is_that_of_the_first_that_is_not_done(three: Home) -> None:
    done = three.run("compare", "fake", "other", "hang", "--timeout", "0.5")
    assert done.returncode == 3
    assert "trio-broker: other: timed out after 0.5 s (--timeout)\n" in done.stderr
    assert three.run("compare", "fake", "broken", "stop refusal").returncode == 1
    assert left(three) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["say hello"], "name the agents, then the prompt"),
        (["nobody", "say hello"], "there is no agent 'nobody'"),
        ([], "what is the prompt?|the prompt is empty"),
    ],
)
def test_a_mistake_is_exit_2(three: Home, words: list[str], says: str) -> None:
    done = three.run("compare", *words)
    assert (done.returncode, done.stdout) == (2, "") and re.search(says, done.stderr)


def test_permissions_are_answered_by_the_policy(three: Home) -> None:
    done = three.run("compare", "fake", "ask read it; ask edit it", "--format", "quiet")
    assert done.stdout == "allowreject\n"
    done = three.run("compare", "fake", "ask edit it", "--approve-all", "--format", "quiet")
    assert done.stdout == "allow\n"


def test_ctrl_c_ends_all_of_them(three: Home) -> None:
    with three.terminal("compare", "fake", "other", "hang") as person:
        eventually(lambda: len([v for v in three.status()["sessions"] if v["phase"] == "working"]) == 2)
        person.ctrl_c()
        assert person.end() == 130
    assert left(three) == []


def test_hostile_answers_are_shown_and_not_obeyed(three: Home) -> None:
    for style in ("text", "json", "quiet"):
        with three.terminal("compare", "fake", "other", f"say {EVIL}", "--format", style) as person:
            assert person.end() == 0
            assert "owned" in person.screen and not {"\x1b", "\x9b"} & {*person.screen}
