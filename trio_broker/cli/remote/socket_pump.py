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

from trio_broker import once
from trio_broker.cli.remote.bridge import AGAIN, GONE, PATIENCE, RETRY, Bridge
from trio_broker.errors import BrokerError, BrokerGone, NoBroker
from trio_broker.wire.jsonrpc import LineSplitter

CHUNK = 256 * 1024
LAST_ANSWERS = 5.0  # seconds from the end of stdin for what is due: then it ends, as an agent does


def _splitter() -> LineSplitter:
    """Of lines that are of any length: that is for the broker to judge."""
    return LineSplitter(sys.maxsize)


@attrs.define(eq=False)
class Pump:
    """Copies lines both ways until the editor's side has ended. `find` makes sure that there is a broker at `path`.

    The first broker is there when it runs. One that goes is waited for, and found when the editor asks for something.
    """

    path: str
    find: Callable[[], None]
    bridge: Bridge
    _ended: threading.Event = attrs.field(factory=threading.Event)  # its stdin has
    _broker: socket.socket | None = None
    _there: threading.Condition = attrs.field(factory=threading.Condition)
    _lines: LineSplitter = attrs.field(factory=_splitter)
    _speaking: threading.Lock = attrs.field(factory=threading.Lock)

    def run(self) -> int:
        """0: it was the editor that ended. Raises what a broker refuses, and NoBroker if none is there at first."""
        self._meet()
        threading.Thread(target=self._copy_stdin, daemon=True).start()
        while self._copy_back():
            if self._ended.is_set():
                return 0
            click.echo(f"trio-broker: {GONE}; waiting for another", err=True)
            self._lose()
            while not self._found():
                if self._ended.is_set() or _nobody_reads(RETRY):
                    return 0
            click.echo(f"trio-broker: {AGAIN}", err=True)
        return 0

    # To the broker

    def _copy_stdin(self) -> None:
        lines = _splitter()
        try:
            while data := os.read(0, CHUNK):
                for line in lines.feed(data):
                    self._forth(line)
            self._ended.set()
            if (broker := self._broker) is not None:
                broker.shutdown(socket.SHUT_WR)
                time.sleep(LAST_ANSWERS)  # this thread ends with the process, which the other one ends
                broker.shutdown(socket.SHUT_RD)
        except OSError:
            pass  # the other thread sees the end of the socket, or of stdout

    def _forth(self, line: bytes) -> None:
        trouble = self._missed(line)
        with self._there:  # so that what is on its way when a broker goes is known to have been
            broker = self._broker
            frame = self.bridge.forth(line) if broker is not None else b""
        if broker is None:
            self._say(self.bridge.refusal(line, trouble))
        else:
            with contextlib.suppress(OSError):  # it is gone: what was asked of it is told, or asked again
                broker.sendall(frame)

    def _missed(self, line: bytes) -> BrokerError:
        """Wait for a broker if there is none, and the editor asks for something; why there is none then."""
        trouble: BrokerError = once.no_broker(self.path)
        if not self.bridge.refusal(line, trouble):
            return trouble
        while self._broker is None:
            try:
                self.find()
            except BrokerError as error:
                if not self._wait(PATIENCE):
                    return error
            self._wait(RETRY)
        return trouble

    def _wait(self, seconds: float) -> bool:
        with self._there:
            return self._there.wait_for(lambda: self._broker is not None, seconds)

    # From the broker

    def _copy_back(self) -> bool:
        """Whether it was the broker that ended."""
        assert self._broker is not None, "it was met"
        poll = select.poll()
        poll.register(self._broker, select.POLLIN)
        poll.register(1, 0)  # tells only that nobody reads our stdout any more
        try:
            while not dict(poll.poll()).get(1, 0) & (select.POLLERR | select.POLLHUP):
                self._take(self._broker)
        except BrokerGone:
            return True
        except BrokenPipeError:
            pass
        return False  # the editor is gone

    def _take(self, broker: socket.socket) -> None:
        """What it says next, to the editor. Raises BrokerGone."""
        try:
            data = broker.recv(CHUNK)
        except ConnectionError:
            data = b""
        if not data:
            raise BrokerGone(GONE)
        self._say(self.bridge.back(self._lines.cut(data)))

    def _say(self, lines: bytes) -> None:
        with self._speaking:
            view = memoryview(lines)
            while view:
                view = view[os.write(1, view) :]

    # One broker after the other

    def _found(self) -> bool:
        try:
            self._meet()
        except NoBroker:
            return False
        except BrokerGone:
            self._lose()
            return False
        return True

    def _meet(self) -> None:
        """Connect, and tell it what the one before knew. Raises NoBroker, BrokerGone, and what it refuses."""
        broker = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            broker.connect(self.path)
        except OSError as error:
            broker.close()
            raise once.no_broker(self.path) from error
        with contextlib.ExitStack() as until_met:
            until_met.enter_context(broker)
            self._greet(broker)
            until_met.pop_all()
        with self._there:
            self._broker = broker
            self._there.notify_all()

    def _greet(self, broker: socket.socket) -> None:
        self._lines = _splitter()
        for words in self.bridge.greeting():
            try:
                broker.sendall(words)
            except OSError as error:
                raise BrokerGone(GONE) from error
            while not self.bridge.greeted:
                self._take(broker)
        for trouble in self.bridge.troubles():
            click.echo(f"trio-broker: {trouble}", err=True)

    def _lose(self) -> None:
        with self._there:
            self._broker = None  # closed when the other thread has let go of it, too
            told = self.bridge.lost(GONE)
        self._say(told)


def _nobody_reads(seconds: float) -> bool:
    """Whether nobody reads our stdout any more; looks again after so many seconds."""
    poll = select.poll()
    poll.register(1, 0)
    return bool(poll.poll(seconds * 1000))
