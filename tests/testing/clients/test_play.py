"""A play notices whatever goes another way than it is written, and says where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from trio_broker.testing import Blank, Play, Unplayed, notification, request
from trio_broker.testing.clients.play import mismatch


async def answer(stream: trio.abc.Stream, data: bytes, hang_up: bool) -> None:
    await stream.send_all(data)
    if hang_up:
        await stream.aclose()


async def act(play: Play, data: bytes = b"", *, hang_up: bool = False) -> list[Any]:
    """Act it out against somebody who says this at once, whatever is said."""
    ours, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer, theirs, data, hang_up)
        await trio.testing.wait_all_tasks_blocked()
        await play.act(ours)
    return play.received


async def failure(play: Play, data: bytes = b"", *, hang_up: bool = False) -> str:
    """Why the play failed."""
    with pytest.RaisesGroup(pytest.RaisesExc(Unplayed), flatten_subgroups=True) as caught:
        await act(play, data, hang_up=hang_up)
    assert play.failed and not play.finished
    return str(caught.value.exceptions[0])


async def test_a_blank_is_filled_in_by_what_is_heard_first(autojump_clock: MockClock) -> None:
    id = Blank("id")
    play = Play().until({"result": {"sessionId": id}}).feed(request(1, "x", sessionId=id))
    play.expect({"params": {"list": [1, id, ...]}})
    heard = await act(
        play, b'{"method":"y"}\n{"result":{"sessionId":"s","more":1}}\n{"params":{"list":[1,"s",2]}}\n'
    )
    assert play.finished and len(heard) == 3 and id.value == "s" and repr(id) == "<id: 's'>"
    play.check_finished()


async def test_what_is_fed_arrives(autojump_clock: MockClock) -> None:
    ours, theirs = memory_stream_pair()
    await Play().feed(b"\xff\n").feed(notification("m", a=[1])).act(ours)
    assert await theirs.receive_some() == b'\xff\n{"jsonrpc": "2.0", "method": "m", "params": {"a": [1]}}\n'


WRONG: dict[str, tuple[Callable[[], Play], bytes, bool, str]] = {
    "another value": (lambda: Play().expect({"a": {"b": 1}}), b'{"a":{"b":2}}\n', False, "a.b is 2, not 1"),
    "a missing member": (lambda: Play().expect({"a": {"b": ...}}), b'{"a":{}}\n', False, "it has no a.b"),
    "another one first": (lambda: Play().expect({"id": 2}), b'{"id":1}\n{"id":2}\n', False, "id is 1, not 2"),
    "no json": (lambda: Play().expect({"id": 1}), b"oops\n", False, "b'oops'"),
    "nothing": (lambda: Play(patience=3).expect({}), b"", False, "nothing came for 3 s"),
    "never": (lambda: Play(patience=3).until({"id": 2}), b'{"id":1}\n', False, "nothing came for 3 s"),
    "the end": (lambda: Play().expect({}), b"", True, "the stream ended"),
    "something": (lambda: Play().expect_nothing(9), b'{"id":5}\n', False, 'this came: {"id": 5}'),
    "the end for nothing": (lambda: Play().expect_nothing(9), b"", True, "the stream ended"),
    "no end": (lambda: Play().expect_end(), b'{"id":5}\n', False, "this came"),
    "no end in time": (lambda: Play(patience=3).expect_end(), b"", False, "nothing came for 3 s"),
    "nobody to feed": (lambda: Play().feed({"id": 1}), b"", True, "has hung up"),
}


@pytest.mark.parametrize("what", WRONG)
async def test_whatever_goes_another_way_is_told(what: str, autojump_clock: MockClock) -> None:
    write, data, hang_up, words = WRONG[what]
    assert words in await failure(write(), data, hang_up=hang_up)


async def test_nothing_and_the_end_may_be_what_is_expected(autojump_clock: MockClock) -> None:
    begun = trio.current_time()
    ours, theirs = memory_stream_pair()
    await Play().expect_nothing(100).act(ours)
    assert trio.current_time() - begun >= 100
    await theirs.aclose()
    await Play().expect_end().act(ours)


async def test_a_failure_shows_the_whole_exchange(autojump_clock: MockClock) -> None:
    play = Play(title="the play").feed(request(1, "m")).expect({"id": 1}).expect({"id": 2}).expect_nothing(5)
    told = await failure(play, b'{"id":1}\n{"id":3}\n')
    assert told.splitlines() == [
        "the play: step 3 of 4: id is 3, not 2",
        '   >> {"jsonrpc": "2.0", "id": 1, "method": "m", "params": {}}',
        '   << {"id": 1}',
        '   << {"id": 3}',
        '!! << {"id": 2}',
        "!!    id is 3, not 2",
        "   << nothing for 5 s",
    ]


def test_a_play_that_is_not_acted_out_is_unfinished() -> None:
    with pytest.raises(Unplayed, match="left unfinished"):
        Play().expect({"id": 1}).check_finished()


async def test_a_blank_cannot_be_fed_before_it_is_heard(autojump_clock: MockClock) -> None:
    with pytest.RaisesGroup(
        pytest.RaisesExc(ValueError, match="<id> has not been heard yet"), flatten_subgroups=True
    ):
        await act(Play().feed({"id": Blank("id")}))


async def test_who_does_not_read_is_told(autojump_clock: MockClock) -> None:
    ours, _ = trio.testing.lockstep_stream_pair()
    with pytest.raises(Unplayed, match="did not take it within 4 s"):
        await Play(patience=4).feed({"id": 1}).act(ours)


@pytest.mark.parametrize(
    ("pattern", "value"), [(1, True), (1, 1.0), ([1], [1, 2]), ({}, []), (None, 0), ("1", 1)]
)
def test_values_that_json_tells_apart_are_unlike(pattern: object, value: object) -> None:
    assert mismatch(pattern, value) and not mismatch(pattern, pattern)
