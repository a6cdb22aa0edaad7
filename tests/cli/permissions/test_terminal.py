"""A permission request in the terminal of a prompt: it is shown, answered by keys, and withdrawn."""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
from pathlib import Path

import pytest

from trio_broker.cli.permissions.terminal import _matching_ask
from trio_broker.testing.processes.home import CONFIG, Home, Terminal
from trio_broker.testing.processes.terminal_emulator import TerminalEmulator

KEYS = "for everybody > "  # the end of the row of keys: from then on they count
ASKS = "[permission] the agent asks:"
NO_ANSWER = "(no answer is needed any more)"


def press(person: Terminal, *keys: str) -> None:
    """Press each key when the terminal says that keys count."""
    for key in keys:
        person.see("> ")
        person.type(key)


def test_a_question_is_asked_with_the_agents_options_and_answered_by_a_key(
    shared: Home, tmp_path: Path
) -> None:
    with shared.terminal("prompt", "ask edit it; say done", cwd=tmp_path) as person:
        person.see(f"{ASKS}\r\n│ edit it\r\n│ kind: edit\r\n")
        person.see("  1  y  allow once     Allow\r\n  2  a  allow always   Always allow\r\n")
        person.see("  3  n  reject once    Reject\r\n")
        person.see("  y, a, n, 1-3; v: all, Enter: again, c: dismiss for everybody > ")
        person.type("y")
        assert person.end() == 0
        assert "allow once\r\n" in person.screen and "allowdone" in person.screen


def test_enter_repeats_the_question_and_other_keys_do_nothing(shared: Home, tmp_path: Path) -> None:
    with shared.terminal("prompt", "ask edit it; say done", "-s", "again", cwd=tmp_path) as person:
        for keys in ("\r", "x\r", "yes\r", "\x1by\r", "4\r"):
            person.see(f"{ASKS}\r\n│ edit it")
            person.see(KEYS)
            assert shared.session("again")["phase"] == "waiting"
            person.type(keys)
        person.see(f"{ASKS}\r\n│ edit it")
        press(person, "1")
        assert person.end() == 0 and "allowdone" in person.screen


@pytest.mark.parametrize(("key", "answer"), [("a", "always"), ("2", "always")])
def test_an_answer_for_ever_needs_a_second_key(shared: Home, tmp_path: Path, key: str, answer: str) -> None:
    with shared.terminal("prompt", "ask edit it; say done", "-s", f"ever{key}", cwd=tmp_path) as person:
        press(person, key)
        person.see("allow always, from now on, too: y to confirm")
        press(person, key)  # not a y
        person.see(ASKS)
        assert shared.session(f"ever{key}")["phase"] == "waiting"
        press(person, key)
        person.see("y to confirm, another key goes back > ")
        person.type("y")
        assert person.end() == 0 and f"{answer}done" in person.screen


def test_dismissing_for_everybody_needs_a_second_key_and_is_exit_5(shared: Home, tmp_path: Path) -> None:
    with shared.terminal("prompt", "ask edit it", "--format", "quiet", cwd=tmp_path) as person:
        press(person, "c")
        person.see("dismiss it for everybody, with no choice: y to confirm")
        press(person, "y")
        assert person.end() == 5
        assert "cancelled\r\n" in person.screen
        assert "every permission the agent asked for was denied\r\n" in person.screen


def test_the_end_of_the_input_leaves_the_answer_to_others(shared: Home, tmp_path: Path) -> None:
    with shared.terminal("prompt", "ask edit it; say done", "-s", "left", cwd=tmp_path) as person:
        press(person, "\x04")
        person.see("(not answered here; `trio-broker allow ")
        assert shared.session("left")["phase"] == "waiting"
        (ask,) = [one for one in shared.json("pending")["asks"] if one["key"] == "left"]
        assert shared.run("allow", ask["askId"]).returncode == 0
        assert person.end() == 0 and "allowdone" in person.screen


def test_no_is_an_answer_and_exit_5(shared: Home, tmp_path: Path) -> None:
    with shared.terminal("prompt", "ask edit it", "--format", "quiet", cwd=tmp_path) as person:
        press(person, "n")
        assert person.end() == 5
        assert "reject\r\n" in person.screen


def test_an_agent_that_ends_its_turn_as_cancelled_when_denied_is_exit_5(shared: Home, tmp_path: Path) -> None:
    with shared.terminal("prompt", "ask edit it; stop cancelled", cwd=tmp_path) as person:
        press(person, "3")
        assert person.end() == 5


def test_a_cancel_after_a_denial_is_130(shared: Home, tmp_path: Path) -> None:
    with shared.terminal("prompt", "ask edit it; hang", "-s", "denied", cwd=tmp_path) as person:
        press(person, "3")
        shared.until("denied", "working")
        assert shared.run("cancel", "-s", "denied").returncode == 0
        assert person.end() == 130


def test_what_is_answered_elsewhere_closes_the_question_here(shared: Home, tmp_path: Path) -> None:
    with shared.terminal("prompt", "ask edit it; say done", "-s", "elsewhere", cwd=tmp_path) as person:
        person.see(KEYS)
        (ask,) = [one for one in shared.json("pending")["asks"] if one["key"] == "elsewhere"]
        assert shared.run("allow", ask["askId"]).returncode == 0
        person.see(NO_ANSWER)
        assert person.end() == 0
        assert "done" in person.screen


def test_who_answered_elsewhere_is_named(shared: Home, tmp_path: Path) -> None:
    with shared.terminal("prompt", "ask edit it; say done", "-s", "named", cwd=tmp_path) as person:
        person.see(KEYS)
        (ask,) = [one for one in shared.json("pending")["asks"] if one["key"] == "named"]
        assert shared.run("allow", ask["askId"]).returncode == 0
        person.see("[permission] edit it: allowed by owner (client-")
        assert person.end() == 0


def test_two_questions_one_after_the_other(shared: Home, tmp_path: Path) -> None:
    with shared.terminal("prompt", "ask edit one; ask edit two; say done", cwd=tmp_path) as person:
        person.see("│ edit one")
        press(person, "1")
        person.see("│ edit two")
        press(person, "3")
        assert person.end() == 0
        assert "rejectdone" in person.screen


def test_what_was_typed_before_a_question_appears_does_not_answer_it(shared: Home, tmp_path: Path) -> None:
    with shared.terminal("prompt", "wait 4; ask edit it; say done", "-s", "ahead", cwd=tmp_path) as person:
        shared.until("ahead", "working")
        person.type("y\ny\n1\n")
        press(person, "n")
        assert person.end() == 5


def test_a_question_that_a_cancel_withdraws_asks_no_more(shared: Home, tmp_path: Path) -> None:
    """RACES D4, seen from the terminal."""
    with shared.terminal("prompt", "ask edit it", "-s", "withdrawn", cwd=tmp_path) as person:
        person.see(KEYS)
        assert shared.run("cancel", "-s", "withdrawn").returncode == 0
        person.see(NO_ANSWER)
        assert person.end() == 130


def test_with_a_policy_nobody_is_asked(shared: Home, tmp_path: Path) -> None:
    with shared.terminal("prompt", "ask edit it", "--approve-all", cwd=tmp_path) as person:
        assert person.end() == 0
        assert "edit it: allowed by policy:approve-all" in person.screen
        assert KEYS not in person.screen


def test_what_was_announced_and_why_a_person_is_asked_stand_in_the_question(tmp_path: Path) -> None:
    """The request has the id of the tool call alone; the rest of it, and the reason, come from the broker."""
    rule = '\n[[policy.rules]]\npath = "secret"\naction = "deny"\n'
    with Home(CONFIG + rule) as home, home.terminal("prompt", "ask-by-id do it", cwd=tmp_path) as person:
        person.see(f"{ASKS}\r\n│ do it\r\n│ asked because: policy rule 1 cannot tell")
        person.see("│ kind: execute\r\n")
        press(person, "n")
        assert person.end() == 5


def test_ctrl_c_while_a_question_is_open_cancels_the_turn(shared: Home, tmp_path: Path) -> None:
    with shared.terminal("prompt", "ask edit it", cwd=tmp_path) as person:
        person.see(KEYS)
        person.ctrl_c()
        person.see("[cancelling] once more to leave the turn to itself")
        assert person.end() == 130


@pytest.fixture
def demo(home: Home) -> Home:
    home.config.write_text('default_agent = "demo"\n', encoding="utf-8")
    return home


def test_the_diff_is_on_the_screen_above_the_choices(demo: Home) -> None:
    with TerminalEmulator(demo.env, "exec", "fast edit", columns=80, lines=24, NO_COLOR="1") as window:
        window.see(
            "│ -def greet(name):", '│ +    print(f"Hello {name}!")',
            "  1  y  allow once     Apply the change", KEYS.strip(),
        )  # fmt: skip
        window.type("y")
        window.see("[done] end_turn")
        assert window.end() == 0


@pytest.mark.parametrize("way", ["ctrl-c", "sigterm", "sigint", "answered elsewhere"])
def test_the_terminal_is_as_it_was_however_the_question_ends(demo: Home, way: str) -> None:
    with TerminalEmulator(demo.env, "prompt", "fast edit", "-s", "k", columns=80, lines=24) as window:
        window.see(KEYS.strip())
        assert window.settings() != window.before, "single keys, without an echo"
        if way == "ctrl-c":  # this window is not the controlling terminal, so a key makes no signal
            os.kill(window.process.pid, signal.SIGINT)
        elif way == "answered elsewhere":
            (ask,) = demo.json("pending")["asks"]
            assert demo.run("allow", ask["askId"]).returncode == 0
        else:
            os.kill(window.process.pid, signal.SIGTERM if way == "sigterm" else signal.SIGINT)
        assert window.end() in (0, 130)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_that_ends_the_command_leaves_the_terminal_as_it_was(
    demo: Home, number: signal.Signals
) -> None:
    with TerminalEmulator(demo.env, "prompt", "fast edit", "-s", "k", columns=80, lines=24) as window:
        window.see(KEYS.strip())
        os.kill(window.process.pid, number)
        assert window.end() == -number


def test_a_stop_gives_the_terminal_back_and_a_return_shows_the_question_again(demo: Home) -> None:
    with TerminalEmulator(demo.env, "prompt", "fast edit", "-s", "k", columns=80, lines=24) as window:
        window.see(KEYS.strip())
        os.kill(window.process.pid, signal.SIGTSTP)
        os.waitid(os.P_PID, window.process.pid, os.WSTOPPED | os.WNOWAIT)
        assert window.settings() == window.before
        shown = window.raw.count(ASKS.encode())
        os.kill(window.process.pid, signal.SIGCONT)
        window.press("y", until="[done] end_turn")
        assert window.raw.count(ASKS.encode()) > shown
        assert window.end() == 0


def test_v_shows_all_of_it_in_the_pager(demo: Home, tmp_path: Path) -> None:
    pager = tmp_path / "pager"
    seen = tmp_path / "seen"
    pager.write_text(f'#!/bin/sh\n{{ echo "$LESSSECURE"; cat; }} > {seen}\necho "paged"\n', encoding="utf-8")
    pager.chmod(pager.stat().st_mode | stat.S_IXUSR)
    with TerminalEmulator(
        demo.env, "exec", "fast edit", columns=80, lines=24, PAGER=str(pager), NO_COLOR="1"
    ) as window:
        window.see(KEYS.strip())
        window.type("v")
        window.see("paged", KEYS.strip())
        text = seen.read_text(encoding="utf-8")
        assert text.startswith("1\n│ Apply the change to greet.py\n")
        assert '│ +    print(f"Hello {name}!")\n│ choice 1: allow_once: Apply the change\n' in text
        window.press("n", until="[done] end_turn")  # the keys of the first showing are still on the screen
        assert window.end() == 5


def test_hostile_text_and_a_long_diff_are_on_one_screen_with_the_choices(home: Home) -> None:
    hostile = "\x1b[2J\x1b[H\r\u202e  1  y  allow once     Harmless"
    old = "".join(f"line {number}\n" for number in range(300))
    part = {
        "type": "diff",
        "path": "/x",
        "oldText": old,
        "newText": f"{hostile}\n{old}tail\n".replace("line 9\n", ""),
    }
    call = json.dumps({"toolCallId": "h", "title": hostile, "kind": "edit", "content": [part]})
    configure(home, call, says=1)
    with TerminalEmulator(home.env, "exec", "go", columns=80, lines=24, NO_COLOR="1", PAGER="") as window:
        window.see(
            "│ \\x1b[2J\\x1b[H\\x0d\\u202e  1  y  allow once     Harmless", "│ diff: /x",
            "│ +\\x1b[2J\\x1b[H\\x0d\\u202e  1  y  allow once     Harmless", "│ -line 9",
            "  1  y  allow once     Yes", "  2  n  reject once    No", KEYS.strip(),
        )  # fmt: skip
        assert "meanwhile" not in window.text, "it would push the question off the screen"
        window.type("n")
        window.see("[done] end_turn")
        assert window.end() == 5
        assert b"meanwhile 0" in window.raw, "above the question or after the answer"


def test_a_flood_of_text_makes_the_next_key_show_the_question_again(home: Home) -> None:
    """So that what an agent writes below a question is never taken for the question that a key answers."""
    configure(home, json.dumps({"toolCallId": "h", "title": "the real one"}), says=600)
    with TerminalEmulator(home.env, "exec", "go", columns=80, lines=24, NO_COLOR="1") as window:
        window.see("│ the real one", KEYS.strip())
        (home.path / "go").touch()
        window.see("meanwhile 499")
        window.type("y")
        window.see("│ the real one", KEYS.strip())
        window.type("n")
        window.see("[done] end_turn")
        assert window.end() == 5


def configure(home: Home, call: str, *, says: int) -> None:
    """The default agent asks with this tool call, and then says so many lines; many when the file `go` exists."""
    agent = home.path / "agent.py"
    agent.write_text(
        AGENT.replace("CALL", repr(call))
        .replace("SAYS", str(says))
        .replace("GO", repr(str(home.path / "go"))),
        encoding="utf-8",
    )
    command = json.dumps([sys.executable, str(agent)])
    home.config.write_text(f'default_agent = "h"\n[agents.h]\ncommand = {command}\n', encoding="utf-8")


AGENT = """
import json, os, sys, time

def send(**message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)

for line in sys.stdin:
    message = json.loads(line)
    method, id = message.get("method"), message.get("id")
    if method == "initialize":
        send(id=id, result={"protocolVersion": 1, "agentCapabilities": {}})
    elif method == "session/new":
        send(id=id, result={"sessionId": "s"})
    elif method == "session/prompt":
        turn = id
        yes = {"optionId": "y", "name": "Yes", "kind": "allow_once"}
        options = [yes, {"optionId": "n", "name": "No", "kind": "reject_once"}]
        params = {"sessionId": "s", "toolCall": json.loads(CALL), "options": options}
        send(id="ask", method="session/request_permission", params=params)
        while SAYS > 1 and not os.path.exists(GO):
            time.sleep(0.02)
        for number in range(SAYS):
            content = {"type": "text", "text": f"meanwhile {number}\\n"}
            update = {"sessionUpdate": "agent_message_chunk", "content": content}
            send(method="session/update", params={"sessionId": "s", "update": update})
    elif id == "ask":
        send(id=turn, result={"stopReason": "end_turn"})
    elif id is not None and method:
        send(id=id, result={})
"""


def test_the_question_that_is_shown_is_the_one_that_is_answered() -> None:
    """Agents give one id to several calls that are open at the same time."""
    asks = [{"askId": title, "toolCall": {"toolCallId": "bash:0", "title": title}} for title in ("ls", "rm")]
    assert _matching_ask({"toolCall": asks[1]["toolCall"]}, asks) == asks[1]
    other = {"toolCallId": "bash:0", "title": "make"}
    assert _matching_ask({"toolCall": other}, asks) == {"toolCall": other}
