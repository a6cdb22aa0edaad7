"""The broker's own methods for sessions: bind, open, submit, cancel, close and logs."""

from __future__ import annotations

import attrs
import pytest
import trio
from trio.testing import MockClock

from trio_broker.errors import Misuse, NoDefaultAgent, NoSession
from trio_broker.protocol.extensions import METHOD_PREFIX
from trio_broker.server.methods.sessions import ASYNC_METHODS, REPORT_INTERVAL, SYNC_METHODS
from trio_broker.testing.in_process.memory_agent import Habits
from trio_broker.testing.in_process.rig import open_rig, settings


def test_a_method_has_one_handler_and_the_prefix() -> None:
    assert not SYNC_METHODS.keys() & ASYNC_METHODS.keys()
    assert all(name.startswith(METHOD_PREFIX) for name in SYNC_METHODS | ASYNC_METHODS)


@pytest.mark.parametrize("env", [{"A": "b\0"}, {"A=B": "x"}, {"": "x"}, {"A": "\ud800"}])
async def test_an_environment_that_no_process_can_get_is_refused(
    env: dict[str, str], autojump_clock: MockClock
) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            for method in ("bind", "open"):
                with pytest.raises(Misuse, match=r"params\.env: no process can get"):
                    await user.call(METHOD_PREFIX + method, key="k", cwd="/tmp", agent="demo", env=env)
            assert rig.agents.spawned == []


async def test_a_session_is_created_once_and_found_again(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            asked = {"key": "k", "cwd": "/tmp", "agent": "demo"}
            with pytest.raises(NoSession):
                await user.call("_trio_broker/open", **asked, create=False)
            made = await user.call("_trio_broker/open", **asked)
            found = await user.call("_trio_broker/open", **asked, create=False)
            assert (made["created"], found["created"]) == (True, False)
            assert made["sessionId"] == found["sessionId"] and found["phase"] == "idle"
            assert len(rig.agents.spawned) == 1


async def test_without_a_default_agent_only_a_session_that_is_there_is_opened(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            rig.broker.registry.config = attrs.evolve(rig.broker.config, default_agent=None)
            with pytest.raises(NoDefaultAgent, match="no agent was named, and there is no default"):
                await user.open("k")
            with pytest.raises(NoDefaultAgent):
                await user.call("initialize", protocolVersion=1)
            session = await user.open("k", agent="demo")
            assert await user.open("k") == session
            with pytest.raises(NoDefaultAgent):
                await user.open("k", fresh=True)
            assert await user.prompt(session, "say still here") == "end_turn"
            assert len(rig.agents.spawned) == 1


async def test_a_slow_start_is_reported_with_the_last_line_of_stderr(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig(habits=Habits(start=2.5 * REPORT_INTERVAL)) as rig, rig.connect() as user:
            opening = user.later(user.open, "k", agent="demo")
            await trio.sleep(REPORT_INTERVAL / 2)
            await rig.agent("k").write_stderr("fetching\n\n")
            await opening.wait()
            reports = [event for event in user.events if event["kind"] == "starting"]
            assert [report["stderr"] for report in reports] == ["fetching"] * 2
            assert [round(report["elapsed"] / REPORT_INTERVAL) for report in reports] == [1, 2]


async def test_a_prompt_that_is_known_is_not_run_again(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            session = await user.open("k", agent="demo")
            assert (await user.submit(session, "wait 5", promptId="a"))["promptId"] == "a"
            assert (await user.submit(session, "say b", promptId="b"))["position"] == 1
            assert await user.submit(session, "say anew", promptId="b") == {"promptId": "b", "position": 1}
            assert await user.submit(session, "say anew", promptId="a") == {"promptId": "a", "position": 0}
            await user.wait_phase("k", "idle")
            ended = await user.submit(session, "say anew", promptId="b")
            assert ended["position"] is None and ended["ended"]
            assert rig.agent("k").prompts() == ["wait 5", "say b"]


async def test_a_cancel_says_what_it_cancelled(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            session = await user.open("k", agent="demo")
            assert await user.cancel(session) == "nothing"
            await user.submit(session, "hang", promptId="a")
            await user.submit(session, "say b", promptId="b")
            assert await user.cancel(session, promptId="other") == "nothing"
            assert await user.cancel(session, promptId="b") == "queued"
            cancelled = await user.call("_trio_broker/cancel", sessionId=session)
            assert cancelled == {"cancelled": "turn", "promptId": "a"}
            await user.wait_phase("k", "idle")
            assert rig.agent("k").prompts() == ["hang"]


@pytest.mark.parametrize(("verb", "graces"), [("close", 2), ("kill", 0)])
async def test_an_end_tells_how_the_process_ended(verb: str, graces: int, autojump_clock: MockClock) -> None:
    stubborn = Habits(ignores_eof=True, ignores_term=True)
    with trio.fail_after(60):
        async with open_rig(settings(close_grace=5, term_grace=5), stubborn) as rig, rig.connect() as user:
            session = await user.open("k", agent="demo")
            agent, began = rig.agent("k"), trio.current_time()
            closed = await user.call(f"_trio_broker/{verb}", sessionId=session)
            assert trio.current_time() - began == pytest.approx(5 * graces, abs=0.5)
            assert closed == {"closed": True, "key": "k", "exit": {"exitCode": None, "signal": "SIGKILL"}}
            assert agent.signals == [9]
            with pytest.raises(NoSession):
                await user.call(f"_trio_broker/{verb}", key="k")


async def test_the_log_of_stderr_goes_on_at_its_end(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            await user.open("k", agent="demo")
            await rig.agent("k").write_stderr("one")
            await rig.agent("k").write(b"no message\n")
            await trio.sleep(1)
            first = await user.call("_trio_broker/logs", key="k")
            assert (first["stderr"], first["rejected"]) == ("one\n", ["no message"])
            assert (first["rejectedCount"], first["end"]) == (1, 4)
            await rig.agent("k").write_stderr("two")
            await trio.sleep(1)
            assert (await user.call("_trio_broker/logs", key="k", since=first["end"]))["stderr"] == "two\n"
