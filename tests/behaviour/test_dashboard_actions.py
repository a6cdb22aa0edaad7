"""What the keys of the dashboard do to real sessions of a real daemon."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from trio_broker.testing.processes.home import Home, eventually
from trio_broker.testing.processes.terminal_emulator import TerminalEmulator

ENTER, CLEAR = "\r", "\x15"


@pytest.fixture
def home() -> Iterator[Home]:
    with Home() as home:
        assert home.run("up").returncode == 0
        yield home


def prompt(home: Home, key: str, text: str, *options: str) -> None:
    done = home.run("prompt", "-s", key, "-a", "fake", "--no-wait", *options, text)
    assert done.returncode == 0, done.stderr


def test_a_permission_is_answered_by_a_key(home: Home) -> None:
    prompt(home, "quiet", "say hello")
    prompt(home, "asks", "ask Delete it; say done", "--ask")
    with TerminalEmulator(home.env, "top") as window:
        window.see("▲ 1 waiting", "Delete it", "a shows it")
        window.type("1")
        window.see("this session asks nothing; a goes to the next question")
        window.type("j")
        window.see("▌ asks", "a answers it: Allow / ")
        window.type("1")
        window.see("press a first")
        window.type("a")
        window.see("y  1  allow once     Allow", "n  3  reject once    Reject")
        window.press("y", until="↳ Allow")
        window.see("○ 2 idle", "done")
        window.type("1")
        window.see("no question waits")
        window.type("q")
        assert window.end() == 0


def test_what_is_queued_is_moved_edited_and_dropped(home: Home) -> None:
    prompt(home, "busy", "hang")
    for text in ("say first", "say second", "say third"):
        prompt(home, "busy", text)
    with TerminalEmulator(home.env, "top") as window:
        window.see("● 1 working")
        window.type(ENTER + "\t")
        window.see("▌  1  say first", "   3  say third")
        window.type("]")
        window.see("   1  say second", "▌  2  say first")
        window.type("k")
        window.see("▌  1  say second")
        window.type("e")
        window.see("busy, queued > say second")
        window.type(CLEAR + "say another" + ENTER)
        window.see("as you wrote it")
        window.see("▌  1  say another", "   2  say first")
        window.type("jjx")
        window.see("drop “say third” from the queue?")
        window.type("y")
        window.see("dropped from the queue")
        window.see_no("say third")
        assert [turn["text"] for turn in home.json("top", "--once")["sessions"][0]["queued"]] == [
            "say another", "say first",
        ]  # fmt: skip
        window.type("q")
        assert window.end() == 0


def test_a_turn_is_interrupted_and_the_prompt_runs_before_those_that_wait(home: Home) -> None:
    prompt(home, "busy", "hang")
    prompt(home, "busy", "say later")
    with TerminalEmulator(home.env, "top") as window:
        window.see("● 1 working")
        window.type("i")
        window.see("interrupt busy >")
        window.type("say at once" + ENTER)
        window.see("cancel what busy does")
        window.type("y")
        window.see("> say at once", "> say later", "○ 1 idle")
        assert window.text.index("> say at once") < window.text.index("> say later")
        window.type("q")
        assert window.end() == 0


def test_an_agent_is_restarted_and_what_waits_runs_in_the_new_one(home: Home) -> None:
    prompt(home, "one", "hang")
    prompt(home, "one", "say afterwards")
    before = home.session("one")["pid"]
    with TerminalEmulator(home.env, "top") as window:
        window.see("● 1 working")
        window.type("R")
        window.see("restart the agent of one?")
        window.type("y")
        window.see("one: restarted, pid")
        window.see("afterwards", "○ 1 idle")
        assert home.session("one")["pid"] not in (None, before)
        window.type("q")
        assert window.end() == 0


def test_who_observes_does_nothing_and_who_takes_part_is_a_client(home: Home) -> None:
    prompt(home, "one", "say hello", "--ask")
    with TerminalEmulator(home.env, "top") as window:
        window.see("hello")
        window.type("r")
        window.see("one: you observe")
        window.see(" you observe ")
        for key in "pixcKX":
            window.type(key)
            window.see("press r to take part")
            window.type("\x1b")
            window.see_no("press r to take part")
        window.type("r")
        window.see("you take part")
        eventually(lambda: home.session("one")["clients"] == 1)
        window.type("pask Sure?" + ENTER)
        window.see("▲ 1 waiting", "Sure?")
        window.type("a")
        window.press("3", until="↳ Reject")
        window.type("r")
        window.see("left to itself")
        eventually(lambda: home.session("one")["clients"] == 0)
        window.type("q")
        assert window.end() == 0


def test_roles_outlive_a_restart_of_the_broker(home: Home) -> None:
    prompt(home, "one", "say hello")
    with TerminalEmulator(home.env, "top") as window:
        window.see("hello")
        window.type("r")
        window.see(" you observe ")
        assert home.run("down").returncode == 0
        window.see("no broker for")
        assert home.run("up").returncode == 0
        window.see_no("no broker for")
        eventually(lambda: home.session("one")["clients"] == 1)
        window.see(" you observe ")
        window.type("q")
        assert window.end() == 0


def test_earlier_prompts_come_back_with_the_arrow_and_lines_are_several(home: Home) -> None:
    prompt(home, "one", "say from elsewhere")
    with TerminalEmulator(home.env, "top") as window:
        window.see("> say from elsewhere", "○ 1 idle")
        window.type("p\x1b[A")
        window.see("one > say from elsewhere")
        window.type(CLEAR + "say a\x1b\rsay b" + ENTER)
        window.see("prompted")
        window.see("> say a", "  say b")
        window.type("p\x1b[A")
        window.see("one > say a")
        window.type("\x1b")
        window.see_no("one >")
        window.type("q")
        assert window.end() == 0


def test_what_one_has_scrolled_back_to_stands_still(home: Home) -> None:
    prompt(home, "one", "; ".join(f"tool Number{number:02}" for number in range(60)))
    with TerminalEmulator(home.env, "top", lines=30) as window:
        window.see("○ 1 idle", "Number59")
        window.type("\x1b[5~")
        window.see("lines, End follows")
        seen = [line for line in window.text.split("\n") if "Number" in line]
        assert seen and "Number59" not in window.text
        [leave_input] = re.findall(r"↑ \d+ lines", window.text)
        prompt(home, "one", "tool Later; tool Later; tool Later")
        eventually(lambda: home.session("one")["turns"] == 2)
        window.see_no(leave_input)
        assert [line for line in window.text.split("\n") if "Number" in line] == seen
        window.type("\x1b[F")
        window.see("> tool Later")
        window.type("\x1b[H")
        window.see("the agent started")
        window.type("\x1b[6~")
        window.see_no("the agent started")
        window.type("q")
        assert window.end() == 0
