"""`trio-broker --url … acp`: an editor here, the broker behind a WebSocket."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import pytest

from trio_broker.cli.remote.bridge import RECONNECTED
from trio_broker.testing.processes.agent_process import AgentProcess, said
from trio_broker.testing.processes.home import CONFIG, LIMIT, TRIO_BROKER, Home, eventually

WEBSOCKET = CONFIG + '\n[listen]\nwebsocket = "127.0.0.1:0"\n'


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    with Home(WEBSOCKET) as home:
        yield home


@pytest.fixture(scope="module")
def remote(home: Home, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The words that say to go over the WebSocket."""
    root = str(tmp_path_factory.getbasetemp())
    token = home.json(
        "token", "new", "--name", "zed", "--scope", "prompt", "--scope", "answer", "--root", root
    )["token"]
    return ["--url", home.status()["websocket"], "--token", token]


class Way:
    """A way to the broker that can be cut: what connects to it reaches the broker at `to`, or nobody."""

    def __init__(self, url: str) -> None:
        self.to = urlsplit(url)
        self._door = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._let_in)]

    def leads(self, remote: list[str]) -> list[str]:
        """The words for the broker, this way."""
        port = self._door.getsockname()[1]
        return ["--url", f"ws://127.0.0.1:{port}/acp", *remote[remote.index("--token") :]]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._door.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(LIMIT)
        self.cut()
        for thread in self._threads[1:]:
            thread.join(LIMIT)
        for end in (self._door, *self._ends):
            end.close()

    def cut(self) -> None:
        """Break off every connection there is."""
        for end in self._ends:
            _break(end)

    def _let_in(self) -> None:
        with contextlib.suppress(OSError):  # until the door is shut
            while True:
                near, _ = self._door.accept()
                self._ends.append(near)
                try:
                    far = socket.create_connection((self.to.hostname, self.to.port))
                except ConnectionRefusedError:
                    _break(near)
                else:
                    self._ends.append(far)
                    self._join(near, far)

    def _join(self, near: socket.socket, far: socket.socket) -> None:
        for one, other in ((near, far), (far, near)):
            self._threads.append(threading.Thread(target=_copy, args=(one, other)))
            self._threads[-1].start()


def _copy(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
    _break(one)
    _break(other)


def _break(end: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it is broken already
        end.shutdown(socket.SHUT_RDWR)


def editor(home: Home, remote: list[str], *words: str) -> AgentProcess:
    return AgentProcess([*TRIO_BROKER, *remote, "acp", *words], home.env, cwd=home.path)


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


def test_a_connection_that_is_cut_is_made_again_and_the_turn_is_waited_for(
    home: Home, remote: list[str], tmp_path: Path
) -> None:
    with Way(home.status()["websocket"]) as way, editor(home, way.leads(remote), "-s", "cut") as talk:
        talk.start(str(tmp_path))
        running = talk.prompt("say working; ask go on; say done")
        while (question := talk.message()).get("method") != "session/request_permission":
            pass
        way.cut()
        assert talk.message() == {
            "jsonrpc": "2.0", "method": "$/cancel_request", "params": {"requestId": question["id"]}
        }  # fmt: skip
        talk.send(id=question["id"], result={"outcome": {"outcome": "cancelled"}})  # goes nowhere
        while (anew := talk.message()).get("method") != "session/request_permission":
            pass
        assert anew["params"] == question["params"] and anew["id"] != question["id"]
        talk.send(id=anew["id"], result={"outcome": {"outcome": "selected", "optionId": "allow"}})
        turn = talk.until(running)
        assert said(turn) == "allowdone" and turn[-1]["result"] == {"stopReason": "end_turn"}
        assert talk.hang_up() == 0
    assert f"{RECONNECTED}\n" in talk.stderr.decode() and home.session("cut")["turns"] == 1


def test_what_was_said_while_it_was_cut_comes_later_and_nothing_comes_twice(
    home: Home, remote: list[str], tmp_path: Path
) -> None:
    texts = [f"{number}," for number in range(300)]
    with Way(home.status()["websocket"]) as way, editor(home, way.leads(remote), "-s", "gap") as talk:
        talk.start(str(tmp_path))
        running = talk.prompt("; ".join(f"say {text}; wait 0.01" for text in texts))
        heard: list[Any] = []
        for _ in range(3):
            heard += [talk.message() for _ in range(20)]
            way.cut()
        heard += talk.until(running)
        assert said(heard) == "".join(texts) and heard[-1]["result"] == {"stopReason": "end_turn"}
        assert talk.hang_up() == 0
    assert RECONNECTED in talk.stderr.decode()


def test_it_outlives_a_broker_that_is_stopped(tmp_path: Path) -> None:
    with Home(WEBSOCKET) as home:
        token = home.json("token", "new", "--name", "zed", "--scope", "prompt", "--root", str(tmp_path))[
            "token"
        ]
        with (
            Way(home.status()["websocket"]) as way,
            editor(home, way.leads(["--token", token]), "-s", "stopped") as talk,
        ):
            talk.start(str(tmp_path))
            assert home.run("down").returncode == 0
            error = talk.turn("say hello")[-1]["error"]
            assert error["data"]["kind"] == "no_broker"
            assert home.run("up").returncode == 0
            way.to = urlsplit(home.status()["websocket"])
            eventually(lambda: home.session("stopped")["clients"] == 1)
            assert said(talk.turn("say hello")) == "hello"
            assert talk.hang_up() == 0


def test_a_token_that_is_revoked_is_exit_6_with_what_to_do(home: Home, tmp_path: Path) -> None:
    made = home.json("token", "new", "--name", "short", "--scope", "prompt", "--root", str(tmp_path))
    remote = ["--url", home.status()["websocket"], "--token", made["token"]]
    with editor(home, remote, "-s", "revoked") as talk:
        talk.start(str(tmp_path))
        assert home.run("token", "revoke", "short").returncode == 0
        assert talk.process.wait(LIMIT) == 6
        eventually(lambda: b"`trio-broker token new` beside the broker makes one" in talk.stderr)
