"""What it looks like when something is wrong: each of these fails on purpose, and says why.

`pytest failing.py` shows them; a plain `pytest` leaves this file out, by its name.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import trio

from trio_broker.testing import Play, Rig, User, request


async def test_another_answer(broker: Rig, play: Callable[..., Play]) -> None:
    told = play()
    told.feed(request(1, "_trio_broker/status")).expect({"id": 1, "result": {"sessions": [{"key": "mine"}]}})
    told.expect_nothing()
    async with broker.raw() as stream:
        await told.act(stream)


async def test_no_answer(broker: Rig, play: Callable[..., Play]) -> None:
    told = play(patience=7.0).expect({"method": "session/update"})
    async with broker.raw() as stream:
        await told.act(stream)


async def test_a_question_that_nobody_answers(acp_client: User) -> None:
    await acp_client.prompt(await acp_client.open("mine"), "ask edit it")


def test_a_play_that_nobody_acted_out(play: Callable[..., Play]) -> None:
    play().feed(request(1, "initialize")).expect({"id": 1})


@asynccontextmanager
async def counter() -> AsyncGenerator[list[str], None]:
    here: list[str] = []
    yield here
    assert here == [], f"still here: {here}"


async def careless(here: list[str]) -> None:
    here.append("me")
    await trio.sleep(1)
    here.remove("me")


def test_who_does_not_clean_up(sweep: Callable[..., int]) -> None:
    sweep(careless, around=counter)


async def test_two_clocks(broker: Rig, daemon: object, acp_client: User) -> None:
    pass


def test_no_trio(broker: Rig) -> None:
    pass
