"""A form, or a URL, of an agent in the terminal of a prompt: filled in field by field, and confirmed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trio_broker.testing.processes.home import Home

CONFIRM = "a = accept, d = decline, e = edit again, Ctrl-D = dismiss: "
RAW = {"mode": "form", "message": "m", "requestedSchema": {"type": "object", "properties": {}}}


def test_a_form_is_asked_field_by_field_edited_and_confirmed(shared: Home, tmp_path: Path) -> None:
    with shared.terminal("prompt", "elicit-form; say done", "--format", "quiet", cwd=tmp_path) as person:
        person.see("[question] Some details, please.\r\n  Name (a text of 1 to 40 characters, required)\r\n")
        person.see("    Of the branch\r\n  name: ")
        person.type("\n")
        person.see("field 'name' is required")
        person.see("name: ")
        person.type("x" * 41 + "\n")
        person.see("field 'name' expects a text of 1 to 40 characters, not 'xxx")
        person.see("name: ")
        person.type("main\n")
        person.see("Count (an integer from 1 to 9)\r\n  count [3]: ")
        person.type("10\n")
        person.see("field 'count' expects an integer from 1 to 9, not 10")
        person.see("count [3]: ")
        person.type("\n")
        person.see("ratio: ")
        person.type("0.5\n")
        person.see("Force (true or false, required)\r\n    1) Yes\r\n    2) No\r\n  force [false]: ")
        person.type("1\n")
        person.see("    1) red\r\n    2) green\r\n    3) blue\r\n  color [green]: ")
        person.type("3\n")
        person.see("    1) Small\r\n    2) Large\r\n  size: ")
        person.type("Large\n")
        person.see("tags: ")
        person.type("1, c\n")
        person.see("name = main\r\n  count = 3\r\n  ratio = 0.5\r\n  force = true\r\n  color = blue\r\n")
        person.see("size = l\r\n  tags = a, c\r\n")
        person.see(CONFIRM)
        person.type("a\n")
        assert person.end() == 0
        content = {"name": "main", "count": 3, "ratio": 0.5, "force": True, "color": "blue", "size": "l"}
        answer = json.dumps({"action": "accept", "content": content | {"tags": ["a", "c"]}})
        assert f"{answer}done" in person.screen.replace("\r\n", "")


def test_a_form_can_be_edited_before_it_is_sent(shared: Home, tmp_path: Path) -> None:
    with shared.terminal("prompt", "elicit", "--format", "quiet", cwd=tmp_path) as person:
        person.see("name: ")
        person.type("mian\n")
        person.see(CONFIRM)
        person.type("\n")  # which chooses nothing
        person.see(CONFIRM)
        person.type("e\n")
        person.see("name [mian]: ")
        person.type("\n")
        person.see(CONFIRM)
        person.type("e\n")
        person.see("name [mian]: ")
        person.type("main\n")
        person.see(CONFIRM)
        person.type("a\n")
        assert person.end() == 0
        assert '{"action": "accept", "content": {"name": "main"}}' in person.screen


@pytest.mark.parametrize(("typed", "action"), [("d\n", "decline"), ("\x04", "cancel")])
def test_a_form_is_declined_or_dismissed(shared: Home, tmp_path: Path, typed: str, action: str) -> None:
    with shared.terminal("prompt", "elicit-choice", "--format", "quiet", cwd=tmp_path) as person:
        person.see("[question] Which color?")
        person.see("color: ")
        person.type("\x04")
        person.see("d = decline, e = edit again, Ctrl-D = dismiss: ")
        person.type(typed)
        assert person.end() == 0
        assert json.dumps({"action": action}) in person.screen


def test_a_form_without_fields_is_confirmed_only(shared: Home, tmp_path: Path) -> None:
    words = f"elicit-raw {json.dumps(RAW)}"
    with shared.terminal("prompt", words, "--format", "quiet", cwd=tmp_path) as person:
        person.see("a = accept, d = decline, Ctrl-D = dismiss: ")
        person.type("a\n")
        assert person.end() == 0
        assert '{"action": "accept", "content": {}}' in person.screen


@pytest.mark.parametrize(("typed", "action"), [("y\n", "accept"), ("d\n", "decline")])
def test_a_url_is_shown_with_its_host_and_never_opened(
    shared: Home, tmp_path: Path, typed: str, action: str
) -> None:
    words = "elicit-url https://bank.example@evil.example/x"
    with shared.terminal("prompt", words, "--format", "quiet", cwd=tmp_path) as person:
        person.see(
            "[question] Please log in.\r\n  https://bank.example@evil.example/x\r\n  host: evil.example\r\n"
        )
        person.see("y = opened, d = decline, Ctrl-D = dismiss: ")
        person.type(typed)
        assert person.end() == 0
        assert json.dumps({"action": action}) in person.screen


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("javascript:alert(1)", "none, by javascript"),
        ("https://аpple.com/", "xn--pple-43d.com"),  # noqa: RUF001  # the first letter is Cyrillic: that is the test
        ("http://[x", "none: this is not a URL"),
        ("", "none, by no scheme"),
    ],
)
def test_the_host_of_an_odd_url_is_said(shared: Home, tmp_path: Path, url: str, host: str) -> None:
    asked = {"mode": "url", "message": "m", "elicitationId": "e", "url": url}
    words = f"elicit-raw {json.dumps(asked)}"
    with shared.terminal("prompt", words, "--format", "quiet", cwd=tmp_path) as person:
        person.see(f"host: {host}\r\n")
        person.see("Ctrl-D = dismiss: ")
        person.type("\x04")
        assert person.end() == 0


def test_hostile_text_of_a_form_looks_like_nothing_else(shared: Home, tmp_path: Path) -> None:
    name = "x\x1b[2J"
    field = {"type": "string", "title": "T\x1b]0;t\x07", "enum": ["a\x1b[1A"]}
    schema = {"type": "object", "properties": {name: field}}
    asked = {"mode": "form", "message": "m\x1b[2J\n  a = accept: ", "requestedSchema": schema}
    words = "elicit-raw " + json.dumps(asked).replace(";", "\\u003b")  # else it ends the act
    with shared.terminal("prompt", words, "--format", "quiet", cwd=tmp_path) as person:
        person.see("[question] m\\x1b[2J\r\n  |   a = accept: \r\n  T\\x1b]0;t\\x07 (")
        person.see("1) a\\x1b[1A\r\n  x\\x1b[2J: ")
        person.type("1\n")
        person.see("x\\x1b[2J = a\\x1b[1A\r\n")
        person.see("a = accept, ")
        person.type("a\n")
        assert person.end() == 0


def test_what_is_typed_before_the_question_accepts_nothing(shared: Home, tmp_path: Path) -> None:
    words = f"say now; wait 0.5; elicit-raw {json.dumps(RAW)}"
    with shared.terminal("prompt", words, "--format", "text", cwd=tmp_path) as person:
        person.see("now")
        person.type("a\n")
        person.see("Ctrl-D = dismiss: ")
        person.type("d\n")
        assert person.end() == 0
        assert '{"action": "decline"}' in person.screen


def test_a_form_that_is_answered_elsewhere_closes_here(shared: Home, tmp_path: Path) -> None:
    with shared.terminal("prompt", "elicit; say done", "-s", "form elsewhere", cwd=tmp_path) as person:
        person.see("name: ")
        (ask,) = [one for one in shared.json("pending")["asks"] if one["key"] == "form elsewhere"]
        assert shared.run("answer", ask["askId"], "--field", "name=Ada").returncode == 0
        person.see("[question] Your name?: accept by owner (client-")
        assert person.end() == 0


def test_two_forms_at_once_are_asked_one_after_the_other(shared: Home, tmp_path: Path) -> None:
    with shared.terminal("prompt", "elicit-boolean", "-s", "two", cwd=tmp_path) as person:
        person.see("go: ")
        with shared.terminal(
            "prompt", "elicit-boolean", "-s", "two", "--format", "quiet", cwd=tmp_path
        ) as other:
            other.see("[queued]")  # its terminal is asked, too, when its client is attached
            person.type("1\n")
            person.see(CONFIRM)
            person.type("a\n")
            assert person.end() == 0
            other.see("(no answer is needed any more)")
            other.see("go: ")
            other.type("2\n")
            other.see(CONFIRM)
            other.type("a\n")
            assert other.end() == 0
            assert '{"action": "accept", "content": {"go": false}}' in other.screen
