"""`agents test`: start an agent, show what it offers, and end it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trio_broker.testing.processes.home import FAKE, Home, eventually, is_running


def test_test_shows_what_an_agent_offers(home: Home, tmp_path: Path) -> None:
    done = home.run("agents", "test", "demo", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    shown = dict(line.split(":", 1) for line in done.stdout.splitlines())
    assert list(shown) == [
        *("command", "agent", "protocol", "initialize", "capabilities", "login", "session", "modes")
    ]
    assert shown["modes"].strip() == "*ask, code"
    assert "sessionCapabilities.resume" in shown["capabilities"]
    found = home.json("agents", "test", "demo")
    assert (found["ok"], found["error"], found["loginNeeded"]) == (True, None, False)
    assert 0 < found["seconds"]["initialize"] <= found["seconds"]["session"]
    assert not home.socket.exists(), "no broker was needed"


@pytest.mark.parametrize(
    ("command", "says", "shows", "stderr"),
    [
        ([*FAKE, "--auth"], "Log in with the agent's own program", "needs a login", []),
        (
            [*FAKE, "--exit-at-start", "3", "--stderr", "no key"],
            "3 before it had a session; its last words: no key",
            "",
            ["no key"],
        ),
        ([*FAKE, "--protocol", "7"], "speaks ACP version 7", "", []),
        (  # a shell: it has said it long before the time is over, on whatever machine
            ["sh", "-c", "echo still loading >&2; cat >/dev/null"],
            "gave no session within 1 s",
            "",
            ["still loading"],
        ),
    ],
    ids=["login", "exit", "version", "time"],
)
def test_an_agent_that_fails_is_exit_1_with_what_to_do(
    home: Home, command: list[str], says: str, shows: str, stderr: list[str]
) -> None:
    timeout = ["--timeout", "1"] if "no session within" in says else []
    done = home.run("agents", "test", *timeout, "--", *command)
    assert done.returncode == 1
    assert says in done.stderr and shows in done.stdout
    found = json.loads(home.run("agents", "test", "--format", "json", *timeout, "--", *command).stdout)
    assert found["ok"] is False and found["error"]
    assert found["loginNeeded"] is ("--auth" in command)
    assert found["stderr"] == stderr


def test_test_leaves_no_process_behind(home: Home, tmp_path: Path) -> None:
    log = tmp_path / "log"
    home.run("agents", "test", "--", *FAKE, "--ignore-eof", "--ignore-term", "--log", str(log))
    pids = {int(line.split()[0]) for line in log.read_text(encoding="utf-8").splitlines()}
    assert len(pids) == 1
    eventually(lambda: not any(map(is_running, pids)))
