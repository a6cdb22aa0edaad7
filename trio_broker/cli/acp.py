"""`acp`: an ACP agent on stdio for the editor that starts it, and a byte pump to the broker's socket behind.

Plain threads and no trio: two copies of bytes need neither, and an editor starts one of these for each of its windows.
"""

from __future__ import annotations

import json
import os
import select
import socket
import threading
import time
from typing import Any

import attrs
import click

from trio_broker.cli.run import State, pass_state, reach, run
from trio_broker.cli.scope import autostart_option, policy_options
from trio_broker.errors import BrokerGone, NoBroker, from_rpc

CHUNK = 256 * 1024
BIND = "trio-broker:bind"
LAST_ANSWERS = 5.0  # seconds from the end of stdin for what is due: then it ends, as an agent does
GONE = "the broker closed the connection; look at its log, then start this agent again"


@click.command("acp")
@click.option(
    "-a", "--agent", metavar="NAME", help="The agent [default: default_agent of the configuration]."
)
@click.option("-s", "--session", metavar="KEY", help="The key of the session that session/new gets.")
@click.option("--cwd", metavar="DIR", help="Where the agent is started to log in; a session brings its own.")
@policy_options
@autostart_option
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@pass_state
def acp_command(
    state: State,
    agent: str | None,
    session: str | None,
    cwd: str | None,
    policy: str | None,
    autostart: bool,
    command: tuple[str, ...],
) -> int:
    """Be an ACP agent on stdin and stdout. With `-- COMMAND…` that command is the agent behind the broker.

    The end of stdin, or of the editor, detaches: a turn that runs goes on, and its session stays. What is answered
    within five seconds of the end of stdin is still told.

    \b
      trio-broker acp -a claude
      trio-broker --url wss://build.example:8765 acp      # a broker elsewhere; TRIO_BROKER_TOKEN has the token
    """
    reach(state, autostart=autostart)
    asked: dict[str, Any] = {
        "agent": agent or state.agent,
        "command": list(command) or None,
        "key": session,
        "cwd": os.path.abspath(os.path.expanduser(cwd)) if cwd else None,
        "policy": policy,
    }
    asked = {name: value for name, value in asked.items() if value is not None}
    if state.url is not None:
        from trio_broker.cli.pump import pump

        return run(pump, state.url, state.token, asked)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as broker:
        _connect(broker, str(state.paths.socket))
        rest = _bind(broker, asked)
        _write_all(1, rest)
        return Pump(broker).run()


def _connect(broker: socket.socket, path: str) -> None:
    try:
        broker.connect(path)
    except OSError as error:
        raise NoBroker(f"no broker listens at {path}: {error}; start one with `trio-broker up`") from error


def _bind(broker: socket.socket, asked: dict[str, Any]) -> bytes:
    """Tell the broker what this connection wants; whatever followed its answer. Raises its error."""
    request = {"jsonrpc": "2.0", "id": BIND, "method": "_trio_broker/bind", "params": asked}
    broker.sendall(json.dumps(request).encode() + b"\n")
    received = bytearray()
    while b"\n" not in received:
        data = _receive(broker)
        if not data:
            raise BrokerGone(GONE)
        received += data
    line, _, rest = bytes(received).partition(b"\n")
    answer = json.loads(line)
    if "error" in answer:
        raise from_rpc(answer["error"])
    return rest


@attrs.define(eq=False)
class Pump:
    """Copies both ways until one side has ended."""

    broker: socket.socket
    stdin_ended: bool = False

    def run(self) -> int:
        """0 when it was our side that ended; raises BrokerGone when it was the broker."""
        threading.Thread(target=self._copy_stdin, daemon=True).start()
        poll = select.poll()
        poll.register(self.broker, select.POLLIN)
        poll.register(1, 0)  # tells only that nobody reads our stdout any more
        while True:
            ready = dict(poll.poll())
            if ready.get(1, 0) & (select.POLLERR | select.POLLHUP):
                return 0
            data = _receive(self.broker)
            if not data:
                break
            try:
                _write_all(1, data)
            except BrokenPipeError:
                return 0  # the editor is gone
        if not self.stdin_ended:
            raise BrokerGone(GONE)
        return 0

    def _copy_stdin(self) -> None:
        try:
            while data := os.read(0, CHUNK):
                self.broker.sendall(data)
            self.stdin_ended = True
            self.broker.shutdown(socket.SHUT_WR)
            time.sleep(LAST_ANSWERS)  # this thread ends with the process, which the other one ends
            self.broker.shutdown(socket.SHUT_RD)
        except OSError:
            pass  # the other thread sees the end of the socket, and says so


def _receive(broker: socket.socket) -> bytes:
    try:
        return broker.recv(CHUNK)
    except ConnectionError:
        return b""


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
