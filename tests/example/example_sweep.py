"""Testing that nothing is left, whenever a client goes."""

from __future__ import annotations

from collections.abc import Callable

from trio_broker.testing import Rig


async def scenario(rig: Rig) -> None:
    async with rig.connect() as user:
        await user.prompt(await user.open("mine"), "say hello")


def test_a_client_may_leave_at_any_moment(sweep: Callable[..., int]) -> None:
    assert sweep(scenario) > 50
