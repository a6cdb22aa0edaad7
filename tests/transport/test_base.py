"""What a link does when the other side can't be reached."""

from __future__ import annotations

import socket

import pytest
import trio

from trio_broker.model import CloseReason
from trio_broker.transport.base import NdjsonTransport


@pytest.mark.parametrize("whose", ["theirs", "ours"])
async def test_writing_to_a_socket_that_was_closed_says_that_it_is_broken(whose: str) -> None:
    ours, theirs = socket.socketpair()
    link = NdjsonTransport(trio.SocketStream(trio.socket.from_stdlib_socket(ours)))
    theirs.close()
    if whose == "ours":
        await link.close(CloseReason.LEFT)
    with pytest.raises(trio.BrokenResourceError):
        await link.send(b"{}\n")
    await link.close(CloseReason.LEFT)
