"""An agent in memory: its habits, the actions of its prompts, and what it keeps of what it received and sent."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from trio_broker.errors import BrokerError
from trio_broker.testing.clients.user import allow
from trio_broker.testing.in_process.memory_agent import FIRST_PID, Habits
from trio_broker.testing.in_process.rig import open_rig


async def test_it_starts_as_late_as_its_habits_say(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig(habits=Habits(start=30)) as rig, rig.connect() as user:
            began = trio.current_time()
            await user.open("k")
            assert trio.current_time() - began == pytest.approx(30, abs=1)
            assert rig.agent("k").methods()[:2] == ["initialize", "session/new"]


@pytest.mark.parametrize(
    ("text", "said", "reason"),
    [
        ("say a; say b", "ab", "end_turn"),
        ("wait 100; other text", "echo: other text", "end_turn"),
        ("ask edit it", "allow", "end_turn"),
        ("say a; late 2", "alate 0late 1", "end_turn"),
    ],
)
async def test_a_prompt_is_a_script(text: str, said: str, reason: str, autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig() as rig, rig.connect(allow) as user:
            session = await user.open("k")
            assert await user.prompt(session, text) == reason
            await trio.sleep(1)
            assert user.said(session) == said and rig.agent("k").prompts() == [text]
            assert "".join(one["content"]["text"] for one in rig.agent("k").sent_updates) == said


async def test_it_can_exit_in_mid_turn_and_be_killed(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig() as rig, rig.connect() as user:
            for text in ("die 3", "hang"):
                turn = user.later(user.prompt, await user.open("k"), text)
                await trio.sleep(1)
                rig.agent("k").kill()  # does nothing to one that has exited
                assert isinstance(await turn.fails(), BrokerError)
            first, second = rig.agents.spawned
            assert (first.exit and first.exit.code, second.exit and second.exit.signal) == (3, 9)
            assert (first.pid, second.pid) == (FIRST_PID, FIRST_PID + 1)
            assert rig.agents.alive() == [] and rig.agents.most == 1 and second.signals == [9]


async def test_a_muted_method_is_left_to_the_test(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig(habits=Habits(mute=frozenset({"session/prompt"}))) as rig, rig.connect() as user:
            turn = user.later(user.prompt, await user.open("k"), "say a")
            await trio.sleep(60)
            [prompt] = rig.agent("k").got("session/prompt")
            assert not turn.done
            await rig.agent("k").answer(prompt["id"], stopReason="refusal")
            assert await turn.wait() == "refusal"
