"""One blocking call over a Unix socket, against a door that misbehaves in every way."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from trio_broker.client import blocking
from trio_broker.errors import BrokerError, BrokerGone, NoBroker, NoSession, RemoteError

EVENT = b'{"jsonrpc":"2.0","method":"_trio_broker/event","params":{}}\n'


@contextlib.contextmanager
def door(folder: Path, says: bytes, *, then_closes: bool = True) -> Iterator[tuple[Path, list[bytes]]]:
    """A socket whose other side hears one line, and answers with these bytes, whatever it was."""
    heard: list[bytes] = []
    over = threading.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "s"))
        listener.listen()

        def serve() -> None:
            peer, _ = listener.accept()
            with peer, peer.makefile("rb") as lines:
                heard.append(lines.readline())
                peer.sendall(says)
                if not then_closes:
                    over.wait()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield folder / "s", heard
        finally:
            over.set()
            thread.join()


def test_a_result_after_what_else_is_told(tmp_path: Path) -> None:
    with door(tmp_path, EVENT + b'{"jsonrpc":"2.0","id":1,"result":{"a":["\xc3\xa4"]}}\n') as (path, heard):
        assert blocking.call(path, "_trio_broker/x", {"b": 1}) == {"a": ["ä"]}
    assert json.loads(heard[0]) == {"jsonrpc": "2.0", "id": 1, "method": "_trio_broker/x", "params": {"b": 1}}


@pytest.mark.parametrize(
    ("says", "error", "words"),
    [
        (b"", BrokerGone, "look at its log, then `trio-broker up`"),
        (b'{"jsonrpc":"2.0","id":1,"res', BrokerGone, "the broker closed the connection"),
        (b"220 mail ready\r\n", BrokerGone, "the broker closed the connection"),
        (
            b'{"id":1,"error":{"code":-32002,"message":"none","data":{"kind":"no_session"}}}\n',
            NoSession,
            "none",
        ),
        (
            b'{"id":null,"error":{"code":-32603,"message":"256 clients"}}\n',
            BrokerGone,
            "connection: 256 clients",
        ),
        (b'{"id":1,"error":"odd"}\n', RemoteError, "odd"),
    ],
)
def test_what_goes_wrong_is_the_error_that_the_trio_client_raises(
    tmp_path: Path, says: bytes, error: type[BrokerError], words: str
) -> None:
    with door(tmp_path, says) as (path, _), pytest.raises(error, match=words):
        blocking.call(path, "_trio_broker/status")


def test_silence_is_waited_for_no_longer_than_was_asked(tmp_path: Path) -> None:
    with (
        door(tmp_path, b"", then_closes=False) as (path, _),
        pytest.raises(BrokerGone, match=r"within 0\.05 s"),
    ):
        blocking.call(path, "_trio_broker/status", timeout=0.05)


def test_nobody_there_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(NoBroker, match="start one with `trio-broker up`"):
        blocking.call(tmp_path / "none", "_trio_broker/status")


def test_a_refusal_is_told_by_a_broker_that_reads_nothing(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()

        def refuse() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.sendall(b'{"id":null,"error":{"code":-32603,"message":"256 clients"}}\n')

        thread = threading.Thread(target=refuse)
        thread.start()
        with pytest.raises(BrokerGone, match="connection: 256 clients"):
            blocking.call(tmp_path / "s", "_trio_broker/x", {"much": "x" * 10_000_000})
        thread.join()
