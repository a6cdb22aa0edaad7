"""One client over a link: its replies come also after its last word, and its end leaves nothing behind."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import pytest
import trio
from trio.testing import MockClock

from trio_broker.auth.grant import OWNER
from trio_broker.model import CloseReason
from trio_broker.protocol.jsonrpc import LineTooLong
from trio_broker.server.connection import Connection
from trio_broker.server.serve import CLIENT_CHECK_INTERVAL, serve
from trio_broker.testing.in_process.rig import Rig, open_rig

STATUS = b'{"jsonrpc":"2.0","id":1,"method":"_trio_broker/status"}'
OPEN = (
    b'{"jsonrpc":"2.0","id":2,"method":"_trio_broker/open","params":{"key":"k","cwd":"/tmp","agent":"demo"}}'
)


@attrs.define(eq=False)
class Link:
    """A transport in memory: a test puts in what the client sends, None for its last word."""

    incoming: trio.MemoryReceiveChannel[Sequence[bytes] | Exception]
    sent: list[bytes] = attrs.field(factory=list)
    closed: list[CloseReason] = attrs.field(factory=list)
    disconnected: bool = False
    broken: Exception | None = None

    async def receive(self) -> Sequence[bytes] | None:
        try:
            found = await self.incoming.receive()
        except trio.EndOfChannel:
            return None
        if isinstance(found, Exception):
            raise found
        return found

    def encode(self, lines: bytes) -> bytes:
        return lines

    async def send(self, encoded: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self.broken is not None:
            raise self.broken
        self.sent.append(bytes(encoded))

    def is_disconnected(self) -> bool:
        return self.disconnected

    def close_reason_text(self) -> str:
        return ""

    async def close(self, reason: CloseReason) -> None:
        self.closed.append(reason)
        await trio.lowlevel.checkpoint()


def open_link() -> tuple[trio.MemorySendChannel[Sequence[bytes] | Exception], Link]:
    sender, receiver = trio.open_memory_channel[Sequence[bytes] | Exception](10)
    return sender, Link(receiver)


def sound(rig: Rig, link: Link, reason: CloseReason) -> bool:
    """Whether the link was closed once, for that reason, and the broker has forgotten the client."""
    return link.closed == [reason] and not rig.broker.clients


async def test_a_client_that_said_its_last_gets_its_replies(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig:
            client, link = open_link()
            await client.send([OPEN, STATUS])
            await client.aclose()
            await serve(rig.broker, link)
            written = b"".join(link.sent)
            assert b'"id":1,' in written and b'"id":2,' in written
            assert sound(rig, link, CloseReason.LEFT) and rig.session("k") is not None


async def test_a_client_that_is_gone_is_not_waited_for(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig() as rig, rig.connect() as user:
            await user.open("k", agent="demo")
            user.later(user.prompt, rig.session("k").session_id or "", "hang")
            await user.wait_phase("k", "working")
            client, link = open_link()
            await client.send(
                [b'{"jsonrpc":"2.0","id":3,"method":"_trio_broker/wait","params":{"key":"k","until":"idle"}}']
            )
            await client.aclose()
            began = trio.current_time()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve, rig.broker, link)
                await trio.sleep(10 * CLIENT_CHECK_INTERVAL)
                assert link.closed == []
                link.disconnected = True
            assert trio.current_time() - began <= 11 * CLIENT_CHECK_INTERVAL
            assert link.closed == [CloseReason.LEFT] and len(rig.broker.clients) == 1


async def test_a_line_too_long_is_answered_before_the_end(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig:
            client, link = open_link()
            await client.send(LineTooLong("a line has more than 10 bytes"))
            await serve(rig.broker, link)
            assert b"raise max_line in [broker]" in b"".join(link.sent)
            assert sound(rig, link, CloseReason.TOO_LONG)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (trio.BrokenResourceError(), CloseReason.LEFT),
        (trio.ClosedResourceError(), CloseReason.LEFT),
        (trio.TooSlowError(), CloseReason.TOO_SLOW),
    ],
)
async def test_a_link_that_takes_nothing_more_ends_the_client(
    error: Exception, reason: CloseReason, autojump_clock: MockClock
) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig:
            client, link = open_link()
            link.broken = error
            await client.send([STATUS])
            await serve(rig.broker, link)
            assert sound(rig, link, reason)


async def test_a_cancelled_client_is_forgotten_and_its_link_closed(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig:
            _, link = open_link()
            with trio.move_on_after(5) as scope:
                await serve(rig.broker, link)
            assert scope.cancelled_caught and sound(rig, link, CloseReason.FAILED)


async def test_a_failure_at_the_beginning_closes_the_link(autojump_clock: MockClock) -> None:
    def refuse(connection: Connection) -> None:
        raise ValueError("no")

    with trio.fail_after(60):
        async with open_rig() as rig:
            _, link = open_link()
            with pytest.RaisesGroup(ValueError):
                await serve(rig.broker, link, OWNER, refuse)
            assert sound(rig, link, CloseReason.FAILED)
