"""A rig in a thread of its own, for tests that are plain functions."""

from __future__ import annotations

from trio_broker.testing.clients.user import BackgroundCall
from trio_broker.testing.in_process.thread_rig import ThreadRig


def test_time_stands_still_until_a_test_lets_it_pass() -> None:
    rig = ThreadRig()

    async def begin_turn(session: str) -> BackgroundCall[str]:  # noqa: ASYNC124  # `do` awaits it
        return rig.user.later(rig.user.prompt, session, "wait 60; say done")

    try:
        session = rig.do(rig.user.open, "k")
        turn = rig.do(begin_turn, session)
        rig.wait(59)
        assert not turn.done
        rig.wait(2)
        assert turn.done and turn.result == "end_turn"
    finally:
        found = rig.close()
    assert found == []
