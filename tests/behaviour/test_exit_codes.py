"""Exit codes, and that whatever is not 0 comes with a sentence that says what to do next."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from trio_broker.testing.processes.home import (
    LIMIT,
    Home,
    eventually,
    fake_command_line,
    is_running,
    without_start_progress,
)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["prompt", "say hi"], 0, ""),
        (["prompt", "stop max_tokens"], 0, ""),
        (["prompt", "ask edit it", "--approve-all"], 0, "allowed by policy:approve-all"),
        (["prompt", "ask read it"], 0, "allowed by policy:approve-reads"),
        (["prompt", "ask read it; ask edit it"], 0, "denied by policy:approve-reads"),
        (
            ["prompt", "error -32123 no more tokens"],
            1,
            "the agent answered with error -32123: no more tokens",
        ),
        (["prompt", "stop refusal"], 1, "the turn ended as refusal"),
        (["prompt", "die 7"], 1, "ended with exit code 7\nThe next prompt starts it anew"),
        (["prompt", "kill KILL"], 1, "ended with signal 9 (SIGKILL)\nThe next prompt starts it anew"),
        (["cancel", "-s", "nobody's"], 4, "`trio-broker sessions list` shows all"),
        (["sessions", "show", "-s", "nobody's"], 4, "`trio-broker sessions list` shows all"),
        (["sessions", "close", "-s", "nobody's"], 4, "`trio-broker sessions list` shows all"),
        (["prompt", "ask edit it"], 5, "denied; allow with --approve-all, or have each wait"),
        (["prompt", "ask edit it", "--approve-reads"], 5, "denied; allow with --approve-all, or have each"),
        (
            ["prompt", 'ask-raw {"title": "x"}'],
            5,
            "cannot tell whether the call only reads: the call names no kind",
        ),
        (["prompt", 'ask-raw {"title": "x"}'], 5, "nobody was there (the prompt has a policy)"),
        (["prompt", "run true", "--deny-all"], 0, "without asking, under the policy 'deny-all': 'true'"),
        (["prompt", "ask read it", "--deny-all"], 5, "allow with --approve-reads or --approve-all, or"),
    ],
)
def test_exit_code(shared: Home, tmp_path: Path, words: list[str], code: int, says: str) -> None:
    done = shared.run(*words, cwd=tmp_path)
    assert (done.returncode, says in done.stderr) == (code, True), (done.returncode, done.stderr)
    assert done.stderr or code == 0


@pytest.mark.parametrize("style", ["json", "quiet"])
@pytest.mark.parametrize(("words", "code"), [(["stop refusal"], 1), (["ask edit it"], 5)])
def test_exit_codes_do_not_depend_on_the_format(
    shared: Home, tmp_path: Path, words: list[str], code: int, style: str
) -> None:
    done = shared.run("exec", *words, "--format", style, cwd=tmp_path)
    assert done.returncode == code and done.stderr


def test_the_next_prompt_after_a_death_starts_anew(shared: Home, tmp_path: Path) -> None:
    assert shared.run("prompt", "die 1", cwd=tmp_path).returncode == 1
    assert shared.run("prompt", "say here again", cwd=tmp_path).stdout.startswith("here again\n")


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (
            "no-such-program --acp",
            "could not be started: [Errno 2] No such file or directory: 'no-such-program'; check that command",
        ),
        (
            fake_command_line("--exit-at-start", "3", "--stderr", "no key found"),
            "3 before it had a session; its last words: no",
        ),
        (fake_command_line("--protocol", "7"), "speaks ACP version 7"),
        (fake_command_line("--auth"), "\nLog in with the agent's own program"),
    ],
)
def test_an_agent_that_does_not_start_is_exit_1_with_its_last_words(
    shared: Home, tmp_path: Path, command: str, says: str
) -> None:
    done = shared.run("exec", "hi", "--command", command, cwd=tmp_path)
    assert done.returncode == 1
    assert says in done.stderr
    assert without_start_progress(done.stderr).count("\n") == 2, "what happened, and what to do"


def test_an_agent_that_is_not_installed_is_told_so(home: Home, tmp_path: Path) -> None:
    done = home.run("goose", "hi", env={"PATH": str(tmp_path)})
    assert done.returncode == 1
    assert (
        "agent 'goose' could not be started: it is not installed, or 'goose' is not in the PATH"
        in done.stderr
    )
    assert "install it, or write its `command` into [agents.goose]" in done.stderr


def test_an_agents_error_is_told_with_its_data(home: Home, tmp_path: Path) -> None:
    """RACES C18: where agents hide what really happened."""
    agent = tmp_path / "agent.py"
    agent.write_text(AGENT, encoding="utf-8")
    done = home.run("exec", "hi", "--command", f"python3 {agent}")
    assert done.returncode == 1
    assert 'answered with error -32603: Internal error: {"details": "no credit"}' in done.stderr


AGENT = r"""
import json, sys
results = {"initialize": {"protocolVersion": 1, "agentCapabilities": {}}, "session/new": {"sessionId": "s"}}
for line in sys.stdin:
    message = json.loads(line)
    answer = {"jsonrpc": "2.0", "id": message.get("id")}
    if message["method"] in results:
        answer["result"] = results[message["method"]]
    else:
        answer["error"] = {"code": -32603, "message": "Internal error", "data": {"details": "no credit"}}
    if "id" in message:
        print(json.dumps(answer), flush=True)
"""


@pytest.mark.parametrize(
    "words", [["prompt", "-a", "fake"], ["fake", "prompt"], ["sessions", "new", "-a", "fake"]]
)
def test_an_agent_and_a_command_are_one_too_many(shared: Home, words: list[str]) -> None:
    done = shared.run(*words, "--command", fake_command_line(), "-s", "both", input="say hi")
    assert (done.returncode, done.stdout) == (2, "")
    assert "give the agent 'fake' or --command, not both" in done.stderr
    assert shared.session("both") is None


def test_words_behind_demo_are_told_how_to_reach_the_agent_of_that_name(shared: Home) -> None:
    done = shared.run("demo", "fast: hello")
    assert done.returncode == 2
    assert (
        "`demo` is the play, and takes no words; for the agent: `trio-broker prompt -a demo …`" in done.stderr
    )


def test_a_broker_that_died_is_told_apart_from_none(home: Home) -> None:
    assert "start one with `trio-broker up`" in home.run("status").stderr
    home.run("up")
    pid = home.status()["pid"]
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not is_running(pid))
    for words in (["status"], ["watch"], ["prompt", "--no-autostart", "hi"]):
        done = home.run(*words)
        assert done.returncode == 6
        assert "has died; its sessions are kept, and `trio-broker up` brings them back" in done.stderr


def test_a_url_that_is_none_and_a_file_that_is_not_there_are_misuse(home: Home, tmp_path: Path) -> None:
    done = home.run("--url", "foo", "status")
    assert done.returncode == 2 and "'foo'" in done.stderr and "ws://" in done.stderr
    missing = tmp_path / "nope.toml"
    for words in (["status"], ["down"], ["sessions", "list"]):
        done = home.run("--config", str(missing), *words)
        assert done.returncode == 2 and f"{missing}: there is no such file" in done.stderr
    assert home.run("--config", str(missing), "config", "init").returncode == 0
    assert missing.exists()


def test_a_closed_session_that_is_not_known_is_told_where_ids_come_from(shared: Home) -> None:
    done = shared.run("sessions", "history", "--id", "nope")
    assert done.returncode == 4
    assert (
        "no session 'nope', live or closed" in done.stderr
        and "-s KEY finds the last closed one" in done.stderr
    )


@pytest.mark.parametrize(
    ("text", "how"),
    [("hang", ""), ("ignore-cancel; ask edit it", ", which its agent answered with end_turn")],
)
def test_a_timeout_cancels_the_turn(shared: Home, text: str, how: str) -> None:
    """The session is there already: how long an agent takes to start is not the question."""
    assert shared.run("sessions", "ensure", "-s", "timed").returncode == 0
    done = shared.run("prompt", text, "-s", "timed", "--ask", "--timeout", "1")
    assert done.returncode == 3
    assert done.stderr.endswith(f"timed out after 1 s; the turn was cancelled{how} (--timeout)\n")


def test_a_timeout_holds_while_the_session_starts(shared: Home, tmp_path: Path) -> None:
    slow = fake_command_line("--no-start")
    done = shared.run("prompt", "hi", "-s", "slow", "--command", slow, "--timeout", "0.3", cwd=tmp_path)
    assert done.returncode == 3
    assert without_start_progress(done.stderr) == (
        "timed out after 0.3 s, before the session had started (--timeout); "
        "it goes on starting, to end it: `trio-broker sessions close -s slow`\n"
    )
    assert shared.run("sessions", "close", "-s", "slow").returncode == 0


MUTE = r"""
import json, sys
model = {"id": "model", "category": "model", "type": "select", "currentValue": "small",
         "options": [{"value": "small", "name": "Small"}, {"value": "large", "name": "Large"}]}
results = {"initialize": {"protocolVersion": 1}, "session/new": {"sessionId": "s", "configOptions": [model]}}
for line in sys.stdin:
    message = json.loads(line)
    if message["method"] in results:
        answer = {"jsonrpc": "2.0", "id": message["id"], "result": results[message["method"]]}
        print(json.dumps(answer), flush=True)
"""


def test_a_timeout_holds_before_the_prompt_is_sent(shared: Home, tmp_path: Path) -> None:
    """This agent never says that it has changed its model."""
    agent = tmp_path / "agent.py"
    agent.write_text(MUTE, encoding="utf-8")
    assert shared.run("sessions", "new", "-s", "mute", "--command", f"python3 {agent}").returncode == 0
    done = shared.run("prompt", "hi", "-s", "mute", "--model", "large", "--timeout", "1")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "timed out after 1 s (--timeout); the prompt was not sent\n"
    assert shared.session("mute")["turns"] == 0


def test_a_timeout_withdraws_a_prompt_that_waits_in_the_queue(shared: Home, tmp_path: Path) -> None:
    shared.run("prompt", "hang", "--no-wait", "-s", "busy", cwd=tmp_path)
    done = shared.run("prompt", "hi", "-s", "busy", "--timeout", "0.3", cwd=tmp_path)
    assert done.returncode == 3
    view = shared.session("busy")
    assert (view["phase"], view["queue"]) == ("working", 0)
    assert shared.run("sessions", "close", "-s", "busy", "--kill").returncode == 0


def test_a_turn_that_somebody_else_cancels_is_130(shared: Home, tmp_path: Path) -> None:
    with shared.start("prompt", "hang", "-s", "mine", cwd=tmp_path) as process:
        shared.until("mine", "working")
        assert shared.run("cancel", "-s", "mine").returncode == 0
        _, stderr = process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert "the turn ended as cancelled" in stderr


@pytest.mark.parametrize("words", [["status"], ["cancel"], ["sessions", "list"], ["sessions", "show"]])
def test_looking_at_a_broker_that_is_not_there_is_exit_6_and_starts_none(
    home: Home, words: list[str]
) -> None:
    done = home.run(*words)
    assert (done.returncode, done.stdout) == (6, "")
    assert "start one with `trio-broker up`" in done.stderr
    assert not home.socket.exists()


@pytest.mark.parametrize("words", [["prompt", "hi"], ["exec", "hi"], ["sessions", "new"], ["acp"]])
def test_no_autostart_is_exit_6_and_starts_none(home: Home, words: list[str]) -> None:
    done = home.run(*words, "--no-autostart")
    assert (done.returncode, done.stdout) == (6, "")
    assert "start one with `trio-broker up`" in done.stderr
    assert not home.socket.exists()


@pytest.mark.parametrize("command", ["prompt", "exec"])
def test_a_broker_that_dies_under_a_prompt_is_exit_6_at_once(home: Home, command: str) -> None:
    home.run("up")
    with home.start(command, "hang", "-s", "mine") as process:
        home.until("mine", "working")
        daemon, agent = home.status()["pid"], home.session("mine")["pid"]
        os.kill(daemon, signal.SIGKILL)
        _, stderr = process.communicate(timeout=LIMIT)
    eventually(lambda: not is_running(agent))  # its stdin has ended
    assert process.returncode == 6
    assert "the broker closed the connection; look at its log, then `trio-broker up`" in stderr


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (
            ("sessions", "prune", "--older-than", "soon"),
            2,
            "no length of time; write it as 90s, 15m, 12h or 30d",
        ),
        (("sessions", "history", "-s", "nobody"), 4, "there is no session 'nobody', live or closed\n"),
        (("sessions", "show", "-s", "k"), 4, "closed, `trio-broker sessions history -s KEY` shows"),
        (("logs", "-s", "k"), 4, "closed, `trio-broker sessions history -s KEY` shows"),
        (("set", "-s", "k"), 4, "closed, `trio-broker sessions history -s KEY` shows"),
        (("sessions", "delete", "-s", "nobody"), 4, "there is no session 'nobody'"),
        (("wait", "-s", "nobody"), 4, "there is no session 'nobody'"),
        (("watch", "-s", "nobody"), 4, "there is no session 'nobody'"),
    ],
)
def test_a_mistake_is_told_with_what_to_do(home: Home, words: tuple[str, ...], code: int, says: str) -> None:
    assert home.run("up").returncode == 0
    done = home.run(*words)
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr
