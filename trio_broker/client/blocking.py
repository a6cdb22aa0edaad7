"""One call to a broker over its Unix socket, blocking: for what asks one thing and ends.

The Trio client takes longer to import than such a command takes to run. This is the second user of the client's side
of the socket, and stays small: one request, its reply, no notifications, no requests of the broker. Standard library
only, for the same reason.
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any, BinaryIO

from trio_broker.errors import BrokerError, BrokerGone, NoBroker, from_rpc


def call(
    where: str | os.PathLike[str], method: str, params: object = None, *, timeout: float | None = None
) -> Any:
    """Call a method of the broker at a Unix socket; its decoded result, or the error that the Trio client raises.

    Blocks for as long as the broker takes, or raises BrokerGone when it says nothing for `timeout` seconds.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as broker:
        broker.settimeout(timeout)
        try:
            broker.connect(os.fspath(where))
        except OSError as error:
            raise no_broker_error(where) from error
        asked = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {} if params is None else params}
        try:
            try:
                broker.sendall(json.dumps(asked).encode() + b"\n")
            except BrokenPipeError:
                pass  # it may have said why it hangs up
            with broker.makefile("rb") as lines:
                return _answer(lines)
        except TimeoutError as error:
            raise BrokerGone(f"the broker gave no answer within {timeout:g} s; look at its log") from error
        except (OSError, ValueError) as error:  # or it speaks something else: as good as gone
            raise broker_gone() from error


def no_broker_error(where: str | os.PathLike[str]) -> NoBroker:
    """Nobody listens there. A broker that ends takes its socket away, so one that is still there tells of a death."""
    if os.path.exists(where):
        return NoBroker(
            f"the broker at {os.fspath(where)} has died; its sessions are kept, and `trio-broker up` brings them back"
        )
    return NoBroker(f"no broker listens at {os.fspath(where)}; start one with `trio-broker up`")


def broker_gone(reason: str = "") -> BrokerGone:
    """The broker has closed the connection; `reason`: why, as it said; a next step behind a semicolon."""
    step = "" if ";" in reason else "; look at its log, then `trio-broker up`"
    return BrokerGone(f"the broker closed the connection{reason}{step}")


def close_text(error: Any) -> str:
    """Of a broker that hangs up: its error that is the answer to nothing."""
    return f": {error.get('message')}" if isinstance(error, dict) else ""


def _answer(lines: BinaryIO) -> Any:
    for line in lines:
        message = json.loads(line)
        if "method" in message:
            continue  # a notification to everybody
        if (error := message.get("error")) is not None:
            raise _error(error) if message.get("id") is not None else broker_gone(close_text(error))
        return message.get("result")
    raise broker_gone()


def _error(error: Any) -> BrokerError:
    return from_rpc(error if isinstance(error, dict) else {"message": str(error)})
