"""`acp` with a broker of this machine: the ends of stdin, of the editor and of the broker."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from trio_broker.cli.remote.bridge import BROKER_GONE, RECONNECTED
from trio_broker.testing.processes.agent_process import AgentProcess, said, updates
from trio_broker.testing.processes.home import LIMIT, Home, eventually, is_running

Editor = Callable[..., AbstractContextManager[AgentProcess]]


def test_it_is_an_agent_and_its_session_is_the_brokers(editor: Editor, shared: Home, tmp_path: Path) -> None:
    with editor(shared, "-s", "zed") as talk:
        opened = talk.start(str(tmp_path))
        assert said(talk.turn("say hello; cwd")) == f"hello{tmp_path}"
        view = shared.session("zed")
        assert (view["sessionId"], view["agent"], view["cwd"]) == (opened["sessionId"], "fake", str(tmp_path))
        assert shared.run("prompt", "say from a terminal", "-s", "zed").returncode == 0
        assert talk.hang_up() == 0
        assert talk.stderr == b""
    assert shared.session("zed")["phase"] == "idle"


def test_the_end_of_stdin_waits_for_answers_that_are_due(
    editor: Editor, shared: Home, tmp_path: Path
) -> None:
    """As in `printf … | trio-broker acp`: whoever has said its last still hears the answer."""
    with editor(shared, "-s", "last words") as talk:
        talk.start(str(tmp_path))
        prompt = talk.prompt("wait 0.5; say the end")
        assert talk.process.stdin is not None
        talk.process.stdin.close()
        turn = talk.until(prompt)
        assert (said(turn), turn[-1]["result"]) == ("the end", {"stopReason": "end_turn"})
        assert talk.line() == b"" and talk.process.wait(LIMIT) == 0


def test_the_end_of_stdin_ends_it_though_a_turn_runs_for_ever(
    editor: Editor, shared: Home, tmp_path: Path
) -> None:
    """As with any agent, whose process ends when its stdin does; the turn goes on (DESIGN D8)."""
    with editor(shared, "-s", "for ever") as talk:
        talk.start(str(tmp_path))
        talk.prompt("say working; hang")
        talk.message()
        assert talk.hang_up() == 0
    assert shared.session("for ever")["phase"] == "working"
    assert shared.run("cancel", "-s", "for ever").returncode == 0


def test_an_editor_that_is_killed_leaves_its_turn_running(
    editor: Editor, shared: Home, tmp_path: Path
) -> None:
    """DESIGN D8."""
    with editor(shared, "-s", "left") as talk:
        talk.start(str(tmp_path))
        talk.prompt("say working; hang")
        talk.message()
    eventually(lambda: shared.session("left")["clients"] == 0)
    assert shared.session("left")["phase"] == "working"
    assert shared.run("cancel", "-s", "left").returncode == 0


def test_when_nobody_reads_its_stdout_it_ends(shared: Home, tmp_path: Path) -> None:
    with shared.start("acp", "-s", "unread", cwd=tmp_path, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.wait(LIMIT) == 0
        assert process.stderr.read() == ""


def test_it_outlives_a_broker_that_dies_with_its_session_and_tells_what_became_of_the_prompt(
    editor: Editor, home: Home, tmp_path: Path
) -> None:
    home.run("up")
    with editor(home, "-s", "outlives") as talk:
        talk.start(str(tmp_path))
        running = talk.prompt("say working; hang")
        assert updates([talk.message()])
        assert home.run("sessions", "export", "-s", "outlives").returncode == 0  # from disk: it is there now
        status = home.status()
        os.kill(status["pid"], signal.SIGKILL)
        eventually(lambda: not is_running(status["sessions"][0]["pid"]))  # its stdin has ended
        assert home.run("up").returncode == 0
        assert "not sent again" in talk.until(running)[-1]["error"]["message"]
        assert said(talk.turn("say hello")) == "hello"
        view = home.session("outlives")
        assert (view["sessionId"], view["clients"]) == (talk.session, 1)
        assert talk.hang_up() == 0
    assert talk.stderr.decode().split("\n") == [
        f"trio-broker: {BROKER_GONE}; waiting for another",
        f"trio-broker: {RECONNECTED}",
        "",
    ]


def test_a_broker_that_was_stopped_is_started_when_the_editor_asks(
    editor: Editor, home: Home, tmp_path: Path
) -> None:
    with editor(home) as talk:
        talk.start(str(tmp_path))
        before = home.status()["pid"]
        assert home.run("down").returncode == 0
        talk.cancel()  # asks for nothing
        assert said(talk.turn("say hello")) == "hello"
        assert home.status()["pid"] != before
        assert talk.hang_up() == 0


def test_without_autostart_the_editor_is_told_what_to_do_and_goes_on_after_it(
    editor: Editor, home: Home, tmp_path: Path
) -> None:
    home.run("up")
    with editor(home, "--no-autostart") as talk:
        talk.start(str(tmp_path))
        home.run("down")
        error = talk.turn("say hello")[-1]["error"]
        assert error["data"]["kind"] == "no_broker" and "`trio-broker up`" in error["message"]
        home.run("up")
        assert said(talk.turn("say hello")) == "hello"
        assert talk.hang_up() == 0


def test_an_editor_that_goes_while_there_is_no_broker_ends_it(
    editor: Editor, home: Home, tmp_path: Path
) -> None:
    with editor(home) as talk:
        talk.start(str(tmp_path))
        home.run("down")
        assert talk.hang_up() == 0
