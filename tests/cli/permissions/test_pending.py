"""`pending`, `allow`, `deny`: what agents ask while nobody is there, answered from anywhere."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import pytest

from trio_broker.testing.processes.home import CONFIG, LIMIT, Home, eventually, is_running
from trio_broker.testing.processes.terminal_emulator import TerminalEmulator


def ask(home: Home, key: str, text: str = "ask edit it; say done") -> str:
    """Have an agent ask something with nobody there; the ask's id."""
    assert home.run("prompt", text, "-s", key, "--ask", "--no-wait").returncode == 0
    home.until(key, "waiting")
    (id,) = [one["askId"] for one in home.json("pending")["asks"] if one["key"] == key]
    return str(id)


def steady(text: str) -> str:
    """Without what differs from run to run: times, pids and names of clients."""
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME", text)
    text = re.sub(r"client-\w+", "CLIENT", text)
    return re.sub(r"\b\d+\.\ds", "AGO", text)


def test_nothing_is_pending(home: Home) -> None:
    home.run("up")
    assert home.run("pending").stdout == "nothing waits for an answer\n"
    assert home.run("pending", "--format", "quiet").stdout == ""
    assert home.json("pending") == {"asks": []}
    for word in ("allow", "deny"):
        done = home.run(word)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("trio-broker: nothing waits for an answer; `trio-broker status` ")


def test_all_questions_of_all_agents_are_listed_and_answered(home: Home) -> None:
    first, second = ask(home, "one"), ask(home, "two", "ask read it\x1b[2J")
    assert (first, second) == ("1-4", "2-4")
    listed = re.sub(" +", " ", steady(home.run("pending").stdout))
    assert listed == (
        "ID SESSION AGENT FOR KIND OPTIONS\n"
        "1-4 one fake AGO edit allow, always, reject edit it\n"
        "2-4 two fake AGO read allow, always, reject read it\\x1b[2J\n"
    )
    assert home.run("pending", "--format", "quiet").stdout == "1-4\n2-4\n"
    done = home.run("allow")
    assert done.returncode == 2 and "2 questions wait for an answer: say which, by its ID\nID " in done.stderr
    done = home.run("deny", second)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "2-4 read it\\x1b[2J: Reject\n")
    assert home.json("allow", "--always") == {
        "action": "answered",
        "askId": "1-4",
        "key": "one",
        "title": "edit it",
        "outcome": "selected",
        "optionId": "always",
        "option": "Always allow",
    }
    home.until("one", "idle")
    history = steady(home.run("sessions", "history", "-s", "one").stdout)
    assert history == (
        "TIME  #1      agent    started\n"
        "TIME  #3      prompt   ask edit it; say done\n"
        "TIME  #4      ask      edit it\n"
        "TIME  #5      answer   edit it: Always allow, by owner (CLIENT) after AGO\n"
        "TIME  #6      text     alwaysdone\n"
        "TIME  #8      end      completed: end_turn\n"
    )


CALL = {
    "title": "Run \u202eit",
    "kind": "execute",
    "rawInput": {"command": "rm -rf x\x1b[2J", "cwd": "/tmp"},
    "content": [
        {"type": "diff", "path": "/x", "oldText": "".join(f"{n}\n" for n in range(60)), "newText": "new\n"}
    ],
}
FACTS = [
    "│ Run \\u202eit", "│ kind: execute", "│ command: rm -rf x\\x1b[2J", "│ in (cwd): /tmp", "│ diff: /x",
    "│ @@ -1,60 +1 @@", "│ -0",
]  # fmt: skip


def test_one_question_is_shown_in_full(shared: Home) -> None:
    id = ask(shared, "full", f"ask-raw {json.dumps(CALL)}")
    about, *lines = shared.run("pending", id).stdout.splitlines()
    assert about.startswith(f"{id} full (fake), ") and ", in /" in about
    assert lines[:7] == FACTS and lines[-4:-3] == ["│ +new"] and "│ -59" in lines
    assert lines[-3:] == [
        "│ choice 1: allow_once: Allow", "│ choice 2: allow_always: Always allow", "│ choice 3: reject_once: Reject",
    ]  # fmt: skip
    assert [line for line in shared.run("pending", "-v").stdout.splitlines() if line in lines] == lines
    assert shared.run("pending", id, "--format", "quiet").stdout == f"{id}\n"
    one = shared.json("pending", id)
    assert (one["askId"], one["toolCall"]["rawInput"]) == (id, CALL["rawInput"])
    listed = shared.run("pending").stdout
    assert "Run \\u202eit\n  │ command: rm -rf x\\x1b[2J\n" in listed, "below the title"
    done = shared.run("pending", "9-9")
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr == "trio-broker: no question '9-9' waits; `trio-broker pending` lists those that wait\n"
    )
    assert shared.run("deny", id).returncode == 0


def test_a_long_question_is_shown_in_the_pager(shared: Home, tmp_path: Path) -> None:
    id = ask(shared, "paged", f"ask-raw {json.dumps(CALL)}")
    pager = tmp_path / "pager"
    pager.write_text(f"#!/bin/sh\ncat > {tmp_path}/seen\n", encoding="utf-8")
    pager.chmod(0o700)
    env = {**shared.env, "PAGER": str(pager)}
    with TerminalEmulator(env, "pending", id, columns=80, lines=24, NO_COLOR="1") as window:
        assert window.end() == 0
        assert "│" not in window.text
    assert (tmp_path / "seen").read_text(encoding="utf-8").splitlines()[1:8] == FACTS
    with TerminalEmulator(env, "pending", id, columns=80, lines=90, NO_COLOR="1") as window:
        assert window.end() == 0
        assert "│ choice 3: reject_once: Reject" in window.text, "it fits without a pager"
    assert shared.run("deny", id).returncode == 0


def test_at_a_terminal_allow_prints_what_it_allows(shared: Home) -> None:
    id = ask(shared, "shown", f"ask-raw {json.dumps(CALL)}")
    with TerminalEmulator(shared.env, "allow", id, columns=80, lines=24, NO_COLOR="1") as window:
        assert window.end() == 0
        assert all(fact in window.text for fact in FACTS)
        assert f"more lines: `trio-broker pending {id}`" in window.text
        assert f"{id} Run \\u202eit: Allow" in window.text


def test_an_answer_to_what_is_answered_says_who_was_first(shared: Home) -> None:
    id = ask(shared, "twice")
    assert shared.run("allow", id).returncode == 0
    done = shared.run("deny", id)
    assert done.returncode == 1
    assert re.search(
        rf"ask {id} \(edit it\) was settled already: Allow, by owner \(client-\w+\), \d+\.\d s after it was asked\n",
        done.stderr,
    )


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["allow", "7-7"], 1, "there is no ask '7-7'; `trio-broker pending` lists those that wait"),
        (["deny", "x"], 1, "there is no ask 'x'; `trio-broker pending` lists those that wait"),
        (
            ["allow", "ID", "--option", "yes"],
            2,
            "offers no option 'yes'; it offers allow (Allow, allow_once), ",
        ),
        (
            ["deny", "ID", "--always"],
            2,
            "has no option to reject always; it offers allow (Allow, allow_once), ",
        ),
        (["allow", "ID", "--always", "--option", "allow"], 2, "give --always or --option, not both"),
    ],
)
def test_what_cannot_be_answered_says_why(shared: Home, words: list[str], code: int, says: str) -> None:
    id = ask(shared, "unanswered")
    done = shared.run(*(id if word == "ID" else word for word in words))
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr
    assert shared.run("allow", id, "--option", "reject").stderr == f"{id} edit it: Reject\n"


@pytest.mark.parametrize("words", [["pending"], ["allow"], ["deny", "1-1"]])
def test_without_a_broker_is_exit_6_and_starts_none(home: Home, words: list[str]) -> None:
    done = home.run(*words)
    assert (done.returncode, done.stdout) == (6, "")
    assert "start one with `trio-broker up`" in done.stderr and not home.socket.exists()


@pytest.mark.parametrize("word", ["pending", "allow", "deny"])
def test_help_has_an_example(shared: Home, word: str) -> None:
    assert f"  trio-broker {word}" in shared.run(word, "--help").stdout


def test_a_prompt_that_waits_for_an_answer_says_how_to_give_it(shared: Home, tmp_path: Path) -> None:
    with shared.start("prompt", "ask edit it", "-s", "told", "--ask", cwd=tmp_path) as process:
        shared.until("told", "waiting")
        (one,) = [one for one in shared.json("pending")["asks"] if one["key"] == "told"]
        assert shared.run("deny", one["askId"]).returncode == 0
        _, stderr = process.communicate(timeout=LIMIT)
    assert process.returncode == 5
    assert f"[waiting] edit it: `trio-broker allow {one['askId']}`, or deny\n" in stderr
    assert "[permission] edit it: denied by owner (client-" in stderr


def test_wait_until_ask(shared: Home) -> None:
    with shared.start("prompt", "wait 0.5; ask edit it", "-s", "asks", "--ask") as process:
        eventually(lambda: (shared.session("asks") or {}).get("phase") in ("working", "waiting"))
        done = shared.run("wait", "-s", "asks", "--until", "ask", "--timeout", "20")
        assert (done.returncode, done.stderr) == (0, "session asks is waiting\n")
        assert shared.session("asks")["asks"] == 1
        (one,) = [one for one in shared.json("pending")["asks"] if one["key"] == "asks"]
        assert shared.run("allow", one["askId"]).returncode == 0
        process.communicate(timeout=LIMIT)


@pytest.mark.parametrize("how", ["kill", "down"])
def test_a_restart_turns_what_is_open_into_expired(home: Home, how: str) -> None:
    id = ask(home, "k")
    pid, agent = home.status()["pid"], home.session("k")["pid"]
    if how == "kill":
        os.kill(pid, signal.SIGKILL)
    else:
        assert home.run("down").returncode == 0
    eventually(lambda: not is_running(pid) and not is_running(agent))
    home.run("up")
    assert home.json("pending") == {"asks": []}
    text = home.run("sessions", "history", "-s", "k").stdout
    assert "edit it: expired, by restart" in text
    assert "the broker ended while this waited for an answer\n" in text
    done = home.run("allow", id)
    assert (
        done.returncode == 1 and f"ask {id} (edit it) was settled already: expired, by restart" in done.stderr
    )


RULES = """
[policy]
notify = ["sh", "-c", "cat > %s; exit 3"]

[[policy.rules]]
title = "^read "
action = "allow"

[[policy.rules]]
kind = "edit"
action = "deny"
"""


def test_rules_are_on_record_and_the_hook_is_told(tmp_path: Path) -> None:
    told = tmp_path / "told"
    with Home(CONFIG + RULES % told) as home:
        home.run("up")
        words = ("prompt", "ask read it; ask edit it; ask run it", "-s", "k", "--ask")
        with home.start(*words, cwd=tmp_path) as process:
            home.until("k", "waiting")
            eventually(lambda: told.exists() and told.read_text(encoding="utf-8").endswith("\n"))
            facts = json.loads(told.read_text(encoding="utf-8"))
            assert (facts["title"], facts["key"], facts["cwd"]) == ("run it", "k", str(tmp_path))
            assert facts == home.json("pending")["asks"][0] | {name: facts[name] for name in ("at", "since")}
            eventually(lambda: f"notify_failed ask={facts['askId']} command=sh why=exit code 3" in home.log)
            assert home.run("allow", facts["askId"]).returncode == 0
            _, stderr = process.communicate(timeout=LIMIT)
        assert process.returncode == 0
        assert "[permission] read it: allowed by policy rule 1\n" in stderr
        assert "[permission] edit it: denied by policy rule 2\n" in stderr
        history = home.run("sessions", "history", "-s", "k").stdout
        assert "read it: Allow, by policy rule 1\n" in history and "by policy rule 2\n" in history
