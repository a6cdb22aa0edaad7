"""`wait`, `logs`, and the commands of who operates a broker."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from trio_broker.testing.processes.home import CONFIG, LIMIT, Home, eventually, fake_command_line, is_running

EVIL = "\x1b[2Jowned\x9b"


# watch


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_watch_whose_broker_goes_is_exit_6_and_says_so(home: Home, number: signal.Signals) -> None:
    home.run("sessions", "new", "-s", "k")
    with home.start("watch", "-s", "k") as process:
        eventually(lambda: home.session("k")["clients"] == 1)
        os.kill(home.status()["pid"], number)
        _, stderr = process.communicate(timeout=LIMIT)
    assert process.returncode == 6, stderr
    assert "the broker closed the connection; look at its log, then `trio-broker up`" in stderr


def test_a_watch_says_how_to_answer_and_that_a_session_is_suspended(home: Home) -> None:
    home.run("prompt", "ask edit it", "-s", "k", "--no-wait", "--ask")
    home.run("wait", "-s", "k", "--until", "ask")
    (ask,) = home.json("pending")["asks"]
    with home.start("watch", "-s", "k", "--since", "1") as process:
        eventually(lambda: home.session("k")["clients"] == 1)
        home.run("down")
        _, stderr = process.communicate(timeout=LIMIT)
    assert f"[ask] edit it: `trio-broker allow {ask['askId']}`, or deny\n" in stderr
    assert "[session] suspended\n" in stderr and "[session] ended" not in stderr


def test_a_quiet_watch_says_each_answer_once(shared: Home) -> None:
    for word in ("one", "two"):
        shared.run("prompt", f"say {word}", "-s", "once")
    with shared.start("watch", "-s", "once", "--since", "1", "--format", "quiet") as process:
        eventually(lambda: shared.session("once")["clients"] == 1)
        shared.run("sessions", "close", "-s", "once")
        stdout, _ = process.communicate(timeout=LIMIT)
    assert stdout == "one\ntwo\n"


def test_a_watch_says_which_answer_was_given_and_why_a_turn_has_failed(shared: Home) -> None:
    shared.run("prompt", "ask edit it", "-s", "why", "--deny-all")
    shared.run("prompt", "die 7", "-s", "why")
    with shared.start("watch", "-s", "why", "--since", "1") as process:
        eventually(lambda: shared.session("why")["clients"] == 1)
        shared.run("sessions", "close", "-s", "why")
        stdout, stderr = process.communicate(timeout=LIMIT)
    assert "[permission] edit it: Reject by policy:deny-all\n" in stderr
    assert "[agent] exited exit code 7\n" in stderr
    assert "[done] failed: agent 'fake' ended with exit code 7" in stdout


# wait


def test_wait_until_an_agent_says_something_from_now_on(shared: Home) -> None:
    shared.run("prompt", "say a secret word", "-s", "now")
    with shared.start("wait", "-s", "now", "--match", "secr[e]t w", "--timeout", "20") as process:
        eventually(lambda: shared.session("now")["clients"] == 1)
        shared.run("prompt", "say the sec; think secret w; say ret words", "-s", "now")
        _, stderr = process.communicate(timeout=LIMIT)
    assert (process.returncode, stderr) == (0, "session now said secret w\n")


def test_wait_finds_what_was_said_since_a_number_and_tells_where(shared: Home) -> None:
    shared.run("prompt", "say one; say two", "-s", "since")
    shared.run("prompt", "say three", "-s", "since")
    found = shared.json("wait", "-s", "since", "--since", "1", "--match", "twot?$")
    assert (found["action"], found["key"], found["match"]) == ("matched", "since", "two")
    after = str(found["seq"] + 1)
    done = shared.run("wait", "-s", "since", "--since", after, "--match", "two", "--timeout", "0.3")
    assert done.returncode == 3 and "has not come to that within 0.3 s" in done.stderr
    assert shared.json("wait", "-s", "since", "--since", after, "--match", "^thr")["match"] == "thr"
    assert shared.json("wait", "-s", "since", "--since", "1", "--match", "two\nth")["match"] == "two\nth"


def test_wait_for_a_word_of_a_session_that_is_closed_is_exit_1(shared: Home) -> None:
    shared.run("sessions", "new", "-s", "closed")
    with shared.start("wait", "-s", "closed", "--match", "never") as process:
        eventually(lambda: shared.session("closed")["clients"] == 1)
        shared.run("sessions", "close", "-s", "closed")
        _, stderr = process.communicate(timeout=LIMIT)
    assert process.returncode == 1 and "session 'closed' was closed before it said that" in stderr


def test_wait_for_idle_ask_and_closed(shared: Home) -> None:
    shared.run("prompt", "ask edit it", "-s", "phases", "--no-wait", "--ask")
    assert shared.run("wait", "-s", "phases", "--until", "ask").stderr == "session phases is waiting\n"
    assert shared.json("wait", "-s", "phases", "--until", "ask")["phase"] == "waiting"
    shared.run("cancel", "-s", "phases")
    assert shared.run("wait", "-s", "phases", "--format", "quiet").stderr == ""
    assert shared.run("wait", "-s", "phases", "--until", "closed", "--timeout", "0.2").returncode == 3


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--match", "("], 2, "'(' is no regular expression"),
        (["--until", "text"], 2, "--until text and --match RE go together"),
        (["--until", "idle", "--match", "x"], 2, "--until text and --match RE go together"),
        (["--match", "x", "-s", "nobody's"], 4, "there is no session"),
    ],
)
def test_a_mistake_in_wait_is_told(shared: Home, words: list[str], code: int, says: str) -> None:
    shared.run("up")
    done = shared.run("wait", *words)
    assert (done.returncode, done.stdout) == (code, "") and says in done.stderr


# logs


def test_logs_are_stderr_and_what_was_rejected(shared: Home) -> None:
    loud = fake_command_line("--stderr", f"starting {EVIL}")
    shared.run("prompt", "garbage; say hi", "-s", "loud", "--command", loud)
    found = shared.json("logs", "-s", "loud")
    assert (found["key"], found["stderr"], len(found["rejected"])) == ("loud", f"starting {EVIL}\n", 1)
    text = shared.run("logs", "-s", "loud").stdout
    assert text == ("starting \\x1b[2Jowned\\x9b\n[rejected] npm warn deprecated: this line is no JSON\n")
    assert shared.run("logs", "-s", "loud", "--format", "quiet").stdout == "starting \\x1b[2Jowned\\x9b\n"
    assert shared.run("logs", "-s", "nobody's").returncode == 4


def test_logs_follow_over_a_restart_of_the_agent(shared: Home) -> None:
    shared.run("sessions", "new", "-s", "follow", "--command", fake_command_line("--stderr", "up"))
    with shared.start("logs", "-s", "follow", "--follow", "--format", "json") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == {"stderr": "up\n", "rejected": []}
        shared.run("prompt", "garbage", "-s", "follow")
        assert len(json.loads(process.stdout.readline())["rejected"]) == 1
        shared.run("sessions", "restart", "-s", "follow")
        assert json.loads(process.stdout.readline()) == {"stderr": "up\n", "rejected": []}
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=LIMIT)
    assert process.returncode == 130 and "[agent] another process: " in stderr


def test_logs_follow_while_the_next_process_waits_for_the_end_of_the_last(shared: Home) -> None:
    """There is none then, and "another process: None" was told."""
    shared.run(
        "sessions", "new", "-s", "between", "--command", fake_command_line("--stderr", "up", "--ignore-eof")
    )
    with shared.start("logs", "-s", "between", "--follow", "--format", "quiet") as process:
        assert process.stdout is not None
        said = [process.stdout.readline()]
        shared.run("sessions", "restart", "-s", "between")
        said.append(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=LIMIT)
    assert said == ["up\n", "up\n"]
    assert stderr.split("\n")[:2] == [f"[agent] another process: {shared.session('between')['pid']}", ""]


def test_a_ring_of_no_bytes_keeps_none(home: Home) -> None:
    home.config.write_text(f"{CONFIG}\n[broker]\nstderr_ring = 0\n", encoding="utf-8")
    home.run("sessions", "new", "-s", "k", "--command", fake_command_line("--stderr", "words"))
    assert home.json("logs", "-s", "k")["stderr"] == ""


# restart, down --drain, config reload


def test_a_restart_from_the_command_line(shared: Home) -> None:
    shared.run("prompt", "say hi", "-s", "again", "--command", fake_command_line("--load"))
    before = shared.session("again")["pid"]
    done = shared.run("sessions", "restart", "-s", "again")
    after = shared.session("again")["pid"]
    assert (done.returncode, done.stdout) == (0, "") and not is_running(before)
    loaded = "the agent has loaded the conversation"
    assert done.stderr == f"session again has a new process (pid {after}): {loaded}\n"
    found = shared.json("sessions", "restart", "-s", "again", "--kill")
    assert (found["action"], found["key"], found["resumed"]) == ("session_restarted", "again", "loaded")
    assert shared.run("sessions", "restart", "-s", "nobody's").returncode == 4


def test_down_with_drain_lets_a_turn_end(home: Home) -> None:
    words = ("prompt", "ask edit it; say done", "-s", "k", "--ask", "--format", "quiet")
    with home.start(*words) as process:
        home.until("k", "waiting")
        with home.start("down", "--drain", stdin=subprocess.DEVNULL) as down:
            eventually(lambda: home.status()["draining"])
            refused = home.run("prompt", "say no", "-s", "k")
            assert (
                refused.returncode == 1 and "draining: it stops when all turns have ended" in refused.stderr
            )
            assert "\nit drains: it stops when every turn has ended" in home.run("status").stdout
            assert home.run("allow").returncode == 0
            stdout, _ = process.communicate(timeout=LIMIT)
            _, stderr = down.communicate(timeout=LIMIT)
    assert (process.returncode, stdout) == (0, "allowdone\n")
    assert (down.returncode, stderr) == (0, "the broker has ended, and its agents with it\n")


def test_a_drain_that_takes_too_long_ends_what_runs(home: Home) -> None:
    home.run("prompt", "hang", "-s", "k", "--no-wait")
    done = home.run("down", "--drain", "--timeout", "0.3")
    assert done.returncode == 0
    assert done.stderr.startswith("some turns have not ended within 0.3 s (--timeout): they are ended now\n")


def test_the_configuration_is_read_anew(home: Home, tmp_path: Path) -> None:
    home.run("up")
    assert home.run("exec", "say hi", "-a", "mine").returncode == 2
    mine = CONFIG.replace("[agents.fake]", "[agents.mine]").replace('"fake"', '"mine"')
    home.config.write_text(f"{mine}\n[journal]\nkeep_days = 3\n", encoding="utf-8")
    done = home.run("config", "reload")
    assert done.returncode == 0
    assert done.stderr == (
        "the broker has read its configuration anew; [journal] will hold from the broker's next start on\n"
    )
    assert home.run("exec", "say hi", "-a", "mine", "--format", "quiet").stdout == "hi\n"
    assert home.json("config", "reload") == {
        "action": "config_reloaded",
        "agents": ["mine"],
        "later": ["journal"],
    }
    home.config.write_text("[broker]\nqueue = 'many'\n", encoding="utf-8")
    done = home.run("config", "reload")
    assert done.returncode == 2 and re.search(r"broker\.queue: expected ", done.stderr)
