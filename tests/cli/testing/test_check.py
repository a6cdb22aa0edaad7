"""`trio-broker check`, as an agent's author has it in a CI."""

from __future__ import annotations

import json
import shlex
import signal
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from trio_broker.testing.check import CHECKS
from trio_broker.testing.processes.home import FAKE, LIMIT, Home, eventually, is_running

# An agent that says something with which a terminal could be led astray, and ends its turns as nobody may.
RUDE = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    method = asked["method"]
    result = {"initialize": {"protocolVersion": 1}, "session/new": {"sessionId": "s"}}.get(method)
    result = result or {"stopReason": "\\x1b[2J\\x07"}
    print(json.dumps({"jsonrpc": "2.0", "id": asked.get("id"), "result": result}, ensure_ascii=False), flush=True)
    print("\\x1b]0;owned\\x07", flush=True)
"""


@pytest.fixture
def rude(tmp_path: Path) -> list[str]:
    program = tmp_path / "rude.py"
    program.write_text(RUDE, encoding="utf-8")
    return [sys.executable, str(program)]


def test_a_good_agent_is_exit_0(home: Home) -> None:
    done = home.run("check", "--only", "initialize", "--only", "cancel.*", "--quiet", "0.05", "--", *FAKE)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    lines = done.stdout.splitlines()
    assert lines[0].startswith("ok   initialize.reply ") and all(
        line.startswith("ok ") for line in lines[:-1]
    )
    assert lines[-1] == f"{len(lines) - 1} passed"
    assert not home.socket.exists(), "it needs no broker"


def test_a_failure_is_exit_1_with_reason_rule_and_frames(home: Home, rude: list[str]) -> None:
    done = home.run("check", "--only", "prompt.reply", "--", *rude)
    assert done.returncode == 1
    assert "FAIL prompt.reply" in done.stdout and "is none of end_turn, " in done.stdout
    assert "     rule: https://agentclientprotocol.com/protocol/prompt-turn\n" in done.stdout
    assert ' -> {"jsonrpc":"2.0","id":3,"method":"session/prompt"' in done.stdout
    assert done.stdout.endswith("1 failed\n") and done.stderr == "trio-broker: 1 of 1 checks failed\n"


@pytest.mark.parametrize("style", ["text", "json", "junit"])
def test_what_an_agent_says_does_not_reach_the_terminal(style: str, home: Home, rude: list[str]) -> None:
    done = home.run("check", "--only", "prompt.reply", "--format", style, "--", *rude)
    assert done.returncode == 1
    assert not set(done.stdout) & {"\x1b", "\x07"} and "owned" in done.stdout


def test_json_has_every_frame(home: Home, rude: list[str]) -> None:
    done = home.run("check", "--only", "prompt.reply", "--format", "json", "--", *rude)
    report = json.loads(done.stdout)
    assert report["target"] == shlex.join(rude)
    assert report["counts"] == {"pass": 0, "fail": 1, "not supported": 0, "not tried": 0, "skipped": 0}
    assert done.stderr == "1 failed\n"
    [result] = report["results"]
    assert (result["id"], result["result"]) == ("prompt.reply", "fail")
    sent = [json.loads(frame["text"])["method"] for frame in result["frames"] if frame["way"] == "->"]
    assert sent == ["initialize", "session/new", "session/prompt"]


def test_junit_is_what_ci_systems_read(home: Home) -> None:
    words = (
        "--only",
        "session.load",
        "--only",
        "prompt.reply",
        "--format",
        "junit",
        "--",
        *FAKE,
        "--protocol",
        "7",
    )
    done = home.run("check", "--only", "initialize.reply", *words)
    suite = ET.fromstring(done.stdout)[0]
    assert (done.returncode, done.stderr) == (1, "1 passed, 1 failed, 1 not supported\n")
    assert {name: suite.get(name) for name in ("tests", "failures", "skipped")} == {
        "tests": "3",
        "failures": "1",
        "skipped": "1",
    }
    cases = {f"{case.get('classname')}.{case.get('name', '').partition(':')[0]}": case for case in suite}
    failure = cases["acp.initialize.reply"].find("failure")
    assert failure is not None and failure.get("message") == "version 1 was asked for, and 7 answered"
    assert '"protocolVersion":7' in (failure.text or "")
    skipped = cases["acp.session.load"].find("skipped")
    assert skipped is not None and (skipped.get("message") or "").startswith(
        "not supported: initialize did not say"
    )


LOST = [sys.executable, "-c", "raise SystemExit('there is no key')"]
WHY = "no answer to initialize: the process ended with exit code 1; stderr: there is no key"
BEHIND = "initialize came to nothing, so there was no start"


def test_a_start_that_fails_is_told_once_and_all_behind_it_in_a_line(home: Home) -> None:
    done = home.run("check", "--", *LOST)
    lines = done.stdout.splitlines()
    assert (done.returncode, lines[1].strip()) == (1, WHY)
    assert [line for line in lines if line[:5] in ("skip ", "ok   ", "FAIL ")] == lines[:1]
    rest = len(CHECKS) - 1
    assert lines[-2:] == [f"{rest} checks were not tried: {BEHIND}", f"1 failed, {rest} not tried"]
    assert done.stderr == f"trio-broker: 1 of {len(CHECKS)} checks failed\n"


def test_a_start_that_fails_as_json(home: Home) -> None:
    done = home.run("check", "--only", "session.new", "--format", "json", "--", *LOST)
    report = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (1, f"1 failed, 1 not tried: {WHY}\n")
    assert [(one["id"], one["result"], one["why"]) for one in report["results"]] == [
        ("initialize.reply", "fail", WHY)
    ]
    assert report["untried"] == {"checks": ["session.new"], "why": BEHIND}


def test_a_start_that_fails_as_junit(home: Home) -> None:
    done = home.run("check", "--format", "junit", "--", *LOST)
    suite = ET.fromstring(done.stdout)[0]
    assert done.returncode == 1
    assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["2", "0", "1", "1"]
    error, skipped = suite[0].find("error"), suite[1].find("skipped")
    assert error is not None and error.get("message") == WHY
    assert suite[1].get("name") == f"{len(CHECKS) - 1} checks"
    assert skipped is not None and skipped.get("message") == f"not tried: {BEHIND}"


STAYS = """
import os, signal, time
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
print(os.getpid(), file=open("pid", "w"), flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("words", [["check"], ["agents", "test"]], ids=" ".join)
def test_what_starts_an_agent_and_is_ended_leaves_none_behind(
    words: list[str], number: signal.Signals, home: Home, tmp_path: Path
) -> None:
    checking = home.start(*words, "--", sys.executable, "-c", STAYS, cwd=tmp_path)
    pid = tmp_path / "pid"
    eventually(lambda: pid.exists() and pid.read_text(encoding="utf-8").endswith("\n"))
    checking.send_signal(number)
    checking.communicate(timeout=LIMIT)
    assert checking.returncode == 130
    assert not is_running(int(pid.read_text(encoding="utf-8")))


def test_an_agent_by_its_name(home: Home) -> None:
    done = home.run("check", "-a", "fake", "--only", "session.new")
    assert done.stdout.endswith("1 passed\n")


def test_a_broker_by_its_socket(shared: Home) -> None:
    shared.run("up")
    done = shared.run(
        "check", "--socket", str(shared.socket), "-a", "fake", "--only", "session.new", "--only", "end.idle"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("1 passed, 1 skipped\n")


QUICK = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    result = {"initialize": {"protocolVersion": 1}, "session/new": {"sessionId": "s"}}.get(asked["method"])
    result = result or {"stopReason": "end_turn"}
    if "id" in asked:
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"""
QUICK_TURNS = ("--quiet", "0.05", "--only", "cancel.*", "--only", "ask.allow")


def test_what_was_not_tried_is_counted_apart_with_the_option_that_lets_it_be_tried(home: Home) -> None:
    done = home.run("check", *QUICK_TURNS, "--", sys.executable, "-c", QUICK)
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert lines[-3:] == [
        "3 passed, 4 not tried",
        "3 want --prompt-long: cancel.turn, cancel.next, cancel.other",
        "1 wants --prompt-ask: ask.allow",
    ]
    assert [line.split()[1] for line in lines if line.startswith(" ?  ")] == [
        "cancel.turn",
        "cancel.next",
        "cancel.other",
        "ask.allow",
    ]
    found = home.run("check", *QUICK_TURNS, "--format", "json", "--", sys.executable, "-c", QUICK)
    report = json.loads(found.stdout)
    assert report["counts"]["not tried"] == 4 and "1 wants --prompt-ask: ask.allow" in found.stderr
    assert [one["option"] for one in report["results"] if one["result"] == "not tried"] == [
        *["--prompt-long"] * 3,
        "--prompt-ask",
    ]


def test_strict_wants_everything_tried(home: Home) -> None:
    done = home.run("check", "--strict", *QUICK_TURNS, "--", sys.executable, "-c", QUICK)
    assert done.returncode == 1
    assert done.stderr == "trio-broker: 4 not tried, which --strict does not forgive\n"
    assert home.run("check", "--strict", "--quiet", "0.05", "--only", "cancel", "--", *FAKE).returncode == 0


def test_a_prompt_of_ones_own_makes_it_ask(home: Home) -> None:
    words = ("check", "--quiet", "0.05", "--only", "ask.allow")
    done = home.run(*words, "--prompt-ask", "say nothing to ask", "--", *FAKE)
    assert done.returncode == 0 and "1 not tried\n" in done.stdout
    assert home.run(*words, "--prompt-ask", "ask write it", "--", *FAKE).stdout.endswith("1 passed\n")


def test_a_broker_before_the_command_is_not_passed_over(home: Home) -> None:
    words = ("check", "-a", "fake", "--only", "session.new")
    done = home.run("--url", "ws://127.0.0.1:1", "--token", "x", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--url and -a: check one thing at a time" in done.stderr
    home.env["TRIO_BROKER_URL"] = "ws://127.0.0.1:1"  # for commands at large: it gives way to what is named
    assert home.run(*words).stdout.endswith("1 passed\n")


def test_the_list_names_every_check_and_its_rule(home: Home) -> None:
    done = home.run("check", "--list")
    assert all(check.id in done.stdout and check.rule in done.stdout for check in CHECKS)
    assert home.run("check", "--list", "--only", "ids").stdout.count("ids.") >= 7


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ([], 2, "say what to check: `-- COMMAND …`, -a NAME, --socket PATH or --url URL"),
        (["--only", "nope", "--", "x"], 2, "no check is called nope; `trio-broker check --list` shows them"),
        (["--socket", "/x", "--", "x"], 2, "check one thing at a time"),
        (["-a", "nobody"], 2, "there is no agent 'nobody'"),
        (["--socket", "/no/such.sock"], 6, "nothing listens at /no/such.sock"),
        (["--url", "ws://127.0.0.1:1"], 6, "no broker listens at ws://127.0.0.1:1"),
        (["--cwd", "/no/such", "--", "x"], 2, "--cwd /no/such: there is no such directory; make it"),
        (["--timeout", "0", "--", "x"], 2, "--timeout"),
    ],
)
def test_what_can_not_be_checked_is_told(home: Home, words: list[str], code: int, says: str) -> None:
    done = home.run("check", *words)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr and "Traceback" not in done.stderr
