"""`trio-broker --url … acp`: an editor here, the broker behind a WebSocket."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from trio_broker.testing.home import CONFIG, LIMIT, TRIO_BROKER, Home, eventually
from trio_broker.testing.talk import Talk, said


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    with Home(CONFIG + '\n[listen]\nwebsocket = "127.0.0.1:0"\n') as home:
        yield home


@pytest.fixture(scope="module")
def remote(home: Home, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The words that say to go over the WebSocket."""
    root = str(tmp_path_factory.getbasetemp())
    token = home.json("token", "new", "--name", "zed", "--scope", "prompt", "--root", root)["token"]
    return ["--url", home.status()["websocket"], "--token", token]


def editor(home: Home, remote: list[str], *words: str) -> Talk:
    return Talk([*TRIO_BROKER, *remote, "acp", *words], home.env, cwd=home.path)


def test_it_is_an_agent_and_its_session_is_the_brokers(home: Home, remote: list[str], tmp_path: Path) -> None:
    with editor(home, remote, "-s", "zed") as talk:
        opened = talk.start(str(tmp_path))
        assert said(talk.turn("say hello; cwd")) == f"hello{tmp_path}"
        assert home.session("zed")["sessionId"] == opened["sessionId"]
        assert talk.hang_up() == 0
    assert talk.stderr == b""
    assert home.session("zed")["phase"] == "idle"


def test_it_needs_no_words_and_nonsense_is_answered(home: Home, remote: list[str], tmp_path: Path) -> None:
    with editor(home, remote) as talk:
        talk.write(b"{\n")
        assert talk.message()["error"]["code"] == -32700
        talk.start(str(tmp_path))
        assert said(talk.turn("say hello")) == "hello"
        assert talk.hang_up() == 0


def test_the_end_of_stdin_waits_for_answers_that_are_due(
    home: Home, remote: list[str], tmp_path: Path
) -> None:
    with editor(home, remote, "-s", "last words") as talk:
        talk.start(str(tmp_path))
        prompt = talk.prompt("wait 0.3; say the end")
        assert talk.process.stdin is not None
        talk.process.stdin.close()
        assert said(talk.until(prompt)) == "the end"
        assert talk.line() == b"" and talk.process.wait(LIMIT) == 0


def test_when_nobody_reads_its_stdout_it_ends_and_the_turn_goes_on(
    home: Home, remote: list[str], tmp_path: Path
) -> None:
    with home.start(*remote, "acp", "-s", "unread", cwd=tmp_path) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        process.stdout.close()
        process.stdin.write('{"jsonrpc":"2.0","id":1,"method":"_trio_broker/status"}\n')
        process.stdin.flush()
        assert process.wait(LIMIT) == 0
        assert process.stderr.read() == ""


def test_what_the_broker_refuses_is_told_on_stderr_and_stdout_stays_clean(
    home: Home, remote: list[str]
) -> None:
    done = home.run(*remote, "acp", "-a", "nobody")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no agent 'nobody'" in done.stderr


# The last one here: the broker of this module is gone after it.
def test_a_broker_that_dies_is_exit_6_with_what_to_do(home: Home, remote: list[str], tmp_path: Path) -> None:
    with editor(home, remote, "-s", "killed") as talk:
        talk.start(str(tmp_path))
        os.kill(home.status()["pid"], signal.SIGKILL)
        assert talk.process.wait(LIMIT) == 6
        eventually(lambda: b"start this agent again" in talk.stderr)
