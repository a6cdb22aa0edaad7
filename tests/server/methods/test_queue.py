"""The queue is seen and changed: by a prompt's author and by admins, told to its author, and kept over a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_broker.auth.grant import Grant, Scope
from trio_broker.errors import Busy, Forbidden, Misuse, NoPrompt, QueueFull
from trio_broker.protocol import jsonrpc
from trio_broker.testing.clients.user import User
from trio_broker.testing.in_process.rig import open_rig, settings

MOMENT = 0.1  # virtual seconds: everything that can happen by itself has happened then


def say(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}]


def texts(queue: dict[str, Any]) -> list[str]:
    return [turn["text"] for turn in queue["queued"]]


async def filled(user: User, *words: str) -> str:
    """A session with a turn that runs, and one prompt for each word that waits, under the word as its id."""
    session = await user.open("k")
    await user.submit(session, "hang", promptId="running")
    await user.wait_phase("k", "working")
    for word in words:
        await user.submit(session, f"say {word},", promptId=word)
    return session


async def change(user: User, id: str, **what: Any) -> Any:
    return await user.call("_trio_broker/queue_edit", key="k", promptId=id, **what)


async def test_the_queue_is_a_picture_of_what_runs_and_what_waits(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            session = await filled(user, "a", "b")
            await trio.sleep(7)
            queue = await user.call("_trio_broker/queue", sessionId=session)
            assert (queue["key"], queue["limit"], texts(queue)) == ("k", 16, ["say a,", "say b,"])
            assert (queue["running"]["promptId"], queue["running"]["position"]) == ("running", 0)
            assert queue["running"]["for"] == pytest.approx(7, abs=0.5)
            assert [(one["position"], one["durable"]) for one in queue["queued"]] == [(1, True), (2, True)]
            one = await user.call("_trio_broker/queue", key="k", promptId="b")
            assert (one["position"], one["prompt"]) == (2, say("say b,"))


async def test_a_prompt_is_moved_edited_and_removed(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            session = await filled(user, "a", "b", "c", "d")
            assert await change(user, "d", position=1) == {
                "promptId": "d",
                "key": "k",
                "done": "moved",
                "position": 1,
            }
            assert (await change(user, "a", position=99))["position"] == 4
            assert (await change(user, "b", prompt=say("say B,")))["done"] == "edited"
            assert (await change(user, "c", remove=True))["done"] == "removed"
            assert texts(await user.call("_trio_broker/queue", key="k")) == ["say d,", "say B,", "say a,"]
            assert await user.cancel(session) == "turn"
            await user.call("_trio_broker/wait", key="k", until="idle")
            assert rig.agent("k").prompts() == ["hang", "say d,", "say B,", "say a,"]


async def test_the_author_is_told_who_changed_what(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as author, rig.connect() as admin:
            session = await author.open("k")
            running = author.later(author.prompt, session, "hang", promptId="running")
            await author.wait_phase("k", "working")
            edited = author.later(author.prompt, session, "say one", promptId="one")
            await trio.sleep(MOMENT)
            blocks = {
                "sessionId": session,
                "prompt": say("say two"),
                "_meta": {"trio-broker": {"promptId": "two"}},
            }
            removed = author.later(author.call, "session/prompt", **blocks)
            await trio.sleep(MOMENT)
            await change(admin, "one", prompt=say("say uno"))
            await change(admin, "two", remove=True)
            result = await removed.wait()
            assert result["stopReason"] == "cancelled"
            assert result["_meta"]["trio-broker"]["note"].startswith(
                "removed from the queue by owner (client-"
            )
            await author.cancel(session)
            assert (await running.wait(), await edited.wait()) == ("cancelled", "end_turn")
            told = [event for event in author.events if event.get("event") == "edited"]
            assert [(one["kind"], one["promptId"], one["position"]) for one in told] == [("queued", "one", 1)]
            assert told[0]["by"].startswith("owner (client-") and told[0]["prompt"] == say("say uno")
            assert author.said(session) == "uno"


async def test_a_plain_client_hears_what_its_prompt_became(autojump_clock: MockClock) -> None:
    """It knows what it said, so its own prompts are not repeated to it; this one says something else now."""
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as plain, rig.connect() as admin:
            await plain.call("initialize", protocolVersion=1, clientCapabilities={})
            session = (await plain.call("session/new", cwd="/tmp", mcpServers=[]))["sessionId"]
            first = plain.later(plain.prompt, session, "hang")
            await trio.sleep(MOMENT)
            second = plain.later(plain.prompt, session, "say one", promptId="one")
            await trio.sleep(MOMENT)
            await admin.call(
                "_trio_broker/queue_edit", sessionId=session, promptId="one", prompt=say("say uno")
            )
            await admin.cancel(session)
            assert (await first.wait(), await second.wait()) == ("cancelled", "end_turn")
            prompts = [one for one in plain.updates(session) if one["sessionUpdate"] == "user_message_chunk"]
            assert [one["content"]["text"] for one in prompts] == ["say uno"]
            assert plain.events == []


async def test_only_its_author_and_admins_change_a_prompt(autojump_clock: MockClock) -> None:
    prompt = frozenset({Scope.PROMPT})
    alice, bob = (Grant(name, prompt, roots=("/tmp",)) for name in ("alice", "bob"))
    with trio.fail_after(60):
        async with (
            open_rig() as rig,
            rig.connect(grant=alice) as one,
            rig.connect(grant=alice) as same,
            rig.connect(grant=bob) as other,
            rig.connect() as admin,
        ):
            await filled(one, "a", "b", "c")
            for what in ({"prompt": say("x")}, {"position": 1}, {"remove": True}):
                with pytest.raises(Forbidden, match="to change a waiting prompt of another"):
                    await change(other, "b", **what)
            assert (await change(same, "b", position=1))["position"] == 1
            assert (await change(admin, "c", remove=True))["done"] == "removed"
            assert texts(await other.call("_trio_broker/queue", key="k")) == ["say b,", "say a,"]


async def test_what_an_editor_may_not_say_does_not_reach_the_agent(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig:
            grant = Grant("alice", frozenset({Scope.PROMPT}), roots=("/tmp",))
            async with rig.connect(grant=grant) as alice:
                session = await filled(alice, "a")
                await change(alice, "a", prompt=say("say A"), _meta={"claudeCode": {"options": {}}})
                await alice.cancel(session)
                await alice.call("_trio_broker/wait", key="k", until="idle")
                assert rig.agent("k").got("session/prompt")[-1]["params"].keys() == {"sessionId", "prompt"}


@pytest.mark.parametrize(
    ("what", "error", "says"),
    [
        ({}, Misuse, "params.prompt, params.position, or params.remove"),
        ({"position": 1, "remove": True}, Misuse, "one thing"),
        ({"promptId": "nope", "remove": True}, NoPrompt, "`trio-broker queue list` shows those that wait"),
        ({"promptId": "running", "position": 1}, NoPrompt, "runs already; cancel it instead"),
        ({"promptId": "gone", "position": 1}, NoPrompt, "has ended already: cancelled"),
    ],
)
async def test_what_can_not_be_changed_is_told(
    what: dict[str, Any], error: type[Exception], says: str, autojump_clock: MockClock
) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            session = await filled(user, "a", "gone")
            await user.cancel(session, promptId="gone")
            with pytest.raises(error, match=says):
                await user.call("_trio_broker/queue_edit", **{"key": "k", "promptId": "a", **what})


async def test_a_prompt_that_is_no_list_of_blocks_changes_nothing(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            await filled(user, "a")
            error = await user.later(change, user, "a", prompt="say b").fails()
            assert "expected an array of content blocks" in error.message
            assert texts(await user.call("_trio_broker/queue", key="k")) == ["say a,"]


async def test_the_changed_queue_is_what_runs_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with trio.fail_after(60):
        async with open_rig(journal=path) as rig, rig.connect() as user:
            await filled(user, "a", "b", "c", "d")
            await change(user, "d", position=1)
            await change(user, "b", prompt=say("say B,"))
            await change(user, "a", position=4)
            await change(user, "c", remove=True)
        async with open_rig(journal=path) as rig, rig.connect() as user:
            await user.call("_trio_broker/wait", key="k", until="idle")
            assert rig.agent("k").prompts() == ["say d,", "say B,", "say a,"]


# What a prompt does when it finds the session busy


async def test_reject_finds_out_whether_anything_runs_or_waits(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            session = await user.open("k")
            assert await user.prompt(session, "say free", ifBusy="reject") == "end_turn"
            await user.submit(session, "hang")
            for error in (
                await user.later(user.prompt, session, "say no", ifBusy="reject").fails(),
                await user.later(user.submit, session, "say no", ifBusy="reject").fails(),
            ):
                assert isinstance(error, Busy) and "'k' is busy: a turn runs; queue this one" in error.message
            assert await user.cancel(session) == "turn"
            await user.call("_trio_broker/wait", key="k", until="idle")
            assert rig.agent("k").prompts() == ["say free", "hang"]


@pytest.mark.parametrize("how", ["prompt", "submit"])
async def test_interrupt_cancels_what_runs_and_goes_before_what_waits(
    how: str, autojump_clock: MockClock
) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user, rig.connect() as other:
            session = await user.open("k")
            blocks = {"sessionId": session, "prompt": say("hang")}
            running = user.later(user.call, "session/prompt", **blocks)
            await user.wait_phase("k", "working")
            waiting = user.later(user.prompt, session, "say later")
            await trio.sleep(MOMENT)
            await other.open("k")
            await (other.prompt if how == "prompt" else other.submit)(session, "say now,", ifBusy="interrupt")
            result = await running.wait()
            assert result["stopReason"] == "cancelled"
            assert result["_meta"]["trio-broker"]["note"].startswith("interrupted by owner (client-")
            assert await waiting.wait() == "end_turn"
            assert rig.agent("k").prompts() == ["hang", "say now,", "say later"]
            assert len(rig.agent("k").got("session/cancel")) == 1


async def test_interrupt_of_an_idle_session_is_a_prompt(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            session = await user.open("k")
            assert await user.prompt(session, "say now", ifBusy="interrupt") == "end_turn"
            assert rig.agent("k").got("session/cancel") == []


async def test_an_interrupt_that_finds_no_place_interrupts_nothing(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig(settings(queue=1)) as rig, rig.connect() as user:
            session = await filled(user, "a")
            with pytest.raises(QueueFull):
                await user.prompt(session, "say now", ifBusy="interrupt")
            assert (await user.view("k"))["phase"] == "working"


async def test_an_interrupt_outlives_an_agent_that_ignores_the_cancel(autojump_clock: MockClock) -> None:
    with trio.fail_after(120):
        async with open_rig(settings(cancel_grace=10)) as rig, rig.connect() as user:
            session = await user.open("k")
            running = user.later(user.prompt, session, "hang-hard")
            await user.wait_phase("k", "working")
            assert await user.prompt(session, "say now", ifBusy="interrupt") == "end_turn"
            assert await running.wait() == "cancelled"


async def test_an_unknown_mode_is_told_with_those_there_are(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            session = await user.open("k")
            with pytest.raises(Misuse, match="expected one of queue, reject, interrupt, not 'barge'"):
                await user.prompt(session, "hi", ifBusy="barge")


async def test_the_interrupting_prompt_stays_first_over_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with trio.fail_after(60):
        async with open_rig(journal=path) as rig, rig.connect() as user:
            session = await user.open("k")
            await user.submit(session, "hang-hard")
            await user.wait_phase("k", "working")
            await user.submit(session, "say second", promptId="b")
            await user.submit(session, "say first,", promptId="a", ifBusy="interrupt")
        async with open_rig(journal=path) as rig, rig.connect() as user:
            await user.call("_trio_broker/wait", key="k", until="idle")
            assert rig.agent("k").prompts() == ["say first,", "say second"]
            assert jsonrpc.encode(await user.call("_trio_broker/queue", key="k")).count(b"say") == 0
