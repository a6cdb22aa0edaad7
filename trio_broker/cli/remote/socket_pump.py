"""Lines copied both ways between stdio and the socket of one broker after the other, by two plain threads.

Two copies of lines need no trio, and an editor starts one of these for each of its windows.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable

import attrs
import click

from trio_broker.cli.remote.bridge import BROKER_GONE, BROKER_TIMEOUT, RECONNECTED, RETRY_INTERVAL, Bridge
from trio_broker.client import blocking
from trio_broker.errors import BrokerError, BrokerGone, NoBroker
from trio_broker.protocol.jsonrpc import LineSplitter

CHUNK = 256 * 1024
LAST_ANSWERS_TIMEOUT = 5.0  # seconds from the end of stdin for what is due: then it ends, as an agent does


def _splitter() -> LineSplitter:
    """Of lines that are of any length: that is for the broker to judge."""
    return LineSplitter(sys.maxsize)


@attrs.define(eq=False)
class SocketPump:
    """Copies lines both ways until the editor's side has ended. `ensure` makes sure that there is a broker at `path`.

    The first broker is there when it runs. One that goes is waited for, and found when the editor asks for something.
    """

    path: str
    ensure: Callable[[], None]
    bridge: Bridge
    _stdin_ended: threading.Event = attrs.field(factory=threading.Event)  # its stdin has
    _broker: socket.socket | None = None
    _broker_changed: threading.Condition = attrs.field(factory=threading.Condition)
    _lines: LineSplitter = attrs.field(factory=_splitter)
    _write_lock: threading.Lock = attrs.field(factory=threading.Lock)

    def run(self) -> int:
        """0: it was the editor that ended. Raises what a broker refuses, and NoBroker if none is there at first."""
        self._connect()
        threading.Thread(target=self._copy_stdin, daemon=True).start()
        while self._copy_to_editor():
            if self._stdin_ended.is_set():
                return 0
            click.echo(f"trio-broker: {BROKER_GONE}; waiting for another", err=True)
            self._disconnect()
            while not self._try_connect():
                if self._stdin_ended.is_set() or _stdout_closed(RETRY_INTERVAL):
                    return 0
            click.echo(f"trio-broker: {RECONNECTED}", err=True)
        return 0

    # To the broker

    def _copy_stdin(self) -> None:
        lines = _splitter()
        try:
            while data := os.read(0, CHUNK):
                for line in lines.feed(data):
                    self._send_to_broker(line)
            self._stdin_ended.set()
            if (broker := self._broker) is not None:
                broker.shutdown(socket.SHUT_WR)
                time.sleep(LAST_ANSWERS_TIMEOUT)  # the other thread ends the process, and this thread with it
                broker.shutdown(socket.SHUT_RD)
        except OSError:
            pass  # the other thread sees the end of the socket, or of stdout

    def _send_to_broker(self, line: bytes) -> None:
        error = self._wait_for_broker(line)
        with self._broker_changed:  # so that what is on its way when a broker goes is known to have been
            broker = self._broker
            frame = self.bridge.to_broker(line) if broker is not None else b""
        if broker is None:
            self._send_to_editor(self.bridge.error_reply(line, error))
        else:
            with contextlib.suppress(OSError):  # it is gone: what was asked of it is told, or asked again
                broker.sendall(frame)

    def _wait_for_broker(self, line: bytes) -> BrokerError:
        """Wait for a broker if there is none, and the editor asks for something; why there is none then."""
        no_broker: BrokerError = blocking.no_broker_error(self.path)
        if not self.bridge.error_reply(line, no_broker):
            return no_broker
        while self._broker is None:
            try:
                self.ensure()
            except BrokerError as error:
                if not self._wait_connected(BROKER_TIMEOUT):
                    return error
            self._wait_connected(RETRY_INTERVAL)
        return no_broker

    def _wait_connected(self, seconds: float) -> bool:
        with self._broker_changed:
            return self._broker_changed.wait_for(lambda: self._broker is not None, seconds)

    # From the broker

    def _copy_to_editor(self) -> bool:
        """Whether it was the broker that ended."""
        assert self._broker is not None, "it was met"
        poll = select.poll()
        poll.register(self._broker, select.POLLIN)
        poll.register(1, 0)  # tells only that nobody reads our stdout any more
        try:
            while not dict(poll.poll()).get(1, 0) & (select.POLLERR | select.POLLHUP):
                self._receive(self._broker)
        except BrokerGone:
            return True
        except BrokenPipeError:
            pass
        return False  # the editor is gone

    def _receive(self, broker: socket.socket) -> None:
        """What it says next, to the editor. Raises BrokerGone."""
        try:
            data = broker.recv(CHUNK)
        except ConnectionError:
            data = b""
        if not data:
            raise BrokerGone(BROKER_GONE)
        self._send_to_editor(self.bridge.to_editor(self._lines.feed_block(data)))

    def _send_to_editor(self, lines: bytes) -> None:
        with self._write_lock:
            view = memoryview(lines)
            while view:
                view = view[os.write(1, view) :]

    # One broker after the other

    def _try_connect(self) -> bool:
        try:
            self._connect()
        except NoBroker:
            return False
        except BrokerGone:
            self._disconnect()
            return False
        return True

    def _connect(self) -> None:
        """Connect, and tell it what the one before knew. Raises NoBroker, BrokerGone, and what it refuses."""
        broker = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            broker.connect(self.path)
        except OSError as error:
            broker.close()
            raise blocking.no_broker_error(self.path) from error
        with contextlib.ExitStack() as until_connected:
            until_connected.enter_context(broker)
            self._handshake(broker)
            until_connected.pop_all()
        with self._broker_changed:
            self._broker = broker
            self._broker_changed.notify_all()

    def _handshake(self, broker: socket.socket) -> None:
        self._lines = _splitter()
        for request in self.bridge.handshake():
            try:
                broker.sendall(request)
            except OSError as error:
                raise BrokerGone(BROKER_GONE) from error
            while not self.bridge.handshake_done:
                self._receive(broker)
        for resume_error in self.bridge.take_resume_errors():
            click.echo(f"trio-broker: {resume_error}", err=True)

    def _disconnect(self) -> None:
        with self._broker_changed:
            self._broker = None  # closed when the other thread has let go of it, too
            output = self.bridge.broker_lost(BROKER_GONE)
        self._send_to_editor(output)


def _stdout_closed(seconds: float) -> bool:
    """Whether nobody reads our stdout any more; looks again after so many seconds."""
    poll = select.poll()
    poll.register(1, 0)
    return bool(poll.poll(seconds * 1000))
