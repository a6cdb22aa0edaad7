"""Clients are cursors: whoever comes late, lags or comes back sees the log, each event once and in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_broker.errors import NoPrompt, NoSession
from trio_broker.journal import log as logs
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.jsonrpc import Message
from trio_broker.testing.clients.user import User
from trio_broker.testing.in_process.memory_agent import Habits
from trio_broker.testing.in_process.rig import Rig, open_rig


class Follower:
    """What an attached client knows: the numbers of events say their own, every update is the next one."""

    def __init__(self, user: User, session: str, next: int) -> None:
        self.user, self.session, self.next = user, session, next
        self.seen: list[tuple[int, str]] = []
        self._read = len(user.messages)

    def catch_up(self) -> None:
        for message in self.user.messages[self._read :]:
            if message.method == "session/update" and message.session_id == self.session:
                update = jsonrpc.decode(message.params)["update"]
                self.seen.append((self.next, update["content"]["text"]))
                self.next += 1
            elif message.method == "_trio_broker/event":
                event = jsonrpc.decode(message.params)
                if event.get("seq") is not None and event["sessionId"] == self.session:
                    assert event["seq"] == self.next, "no number is missing, none comes twice"
                    self.seen.append((self.next, event["kind"]))
                    self.next += 1
        self._read = len(self.user.messages)


async def follow(user: User, session: str, since: int | None) -> Follower:
    asked = {"sessionId": session} | ({} if since is None else {"since": since})
    attached = await user.call("_trio_broker/attach", **asked)
    answer = next(n for n, message in enumerate(user.messages) if b'"next"' in (message.result or b""))
    follower = Follower(user, session, attached["next"])
    follower._read = answer + 1
    return follower


async def whole_log(user: User, session: str) -> list[tuple[int, str]]:
    events = (await user.call("_trio_broker/events", sessionId=session, limit=10**6))["events"]
    return [
        (event["seq"], event["update"]["content"]["text"] if event["kind"] == "update" else event["kind"])
        for event in events
    ]


@pytest.mark.parametrize("since", [1, 2, 7, None])
async def test_a_late_joiner_sees_history_and_then_live_without_gap_or_double(
    since: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "RING_SMALL", 300)
    joined = trio.Event()

    async def allow_then(_: Message) -> object:
        await joined.wait()
        return {"outcome": {"outcome": "selected", "optionId": "allow"}}

    with trio.fail_after(60):
        async with (
            open_rig(journal=tmp_path / "j") as rig,
            rig.connect(allow_then) as user,
            rig.connect() as late,
        ):
            session = await user.open("k")
            turn = user.later(user.prompt, session, f"{script(0, 20)}; ask go on; say so")
            await user.wait_phase("k", "waiting")
            follower = await follow(late, session, since)
            joined.set()
            assert await turn.wait() == "end_turn"
            assert await user.prompt(session, script(20, 30)) == "end_turn"
            log = await whole_log(late, session)
            follower.catch_up()
            first = follower.seen[0][0]
            assert follower.seen == log[first - 1 :] and (since is None or first == since)


def script(start: int, end: int) -> str:
    return "; ".join(f"say {number}" for number in range(start, end))


async def test_one_that_is_cut_fifty_times_in_one_turn_sees_each_event_once(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with open_rig(journal=tmp_path / "j") as rig, rig.connect() as user:
            session = await user.open("k")
            turn = user.later(user.prompt, session, "; ".join(f"say {n}; wait 0.002" for n in range(60)))
            next, seen = 1, list[tuple[int, str]]()
            for _ in range(50):
                async with rig.connect() as again:
                    follower = await follow(again, session, next)
                    await trio.sleep(0.002)
                    follower.catch_up()
                next, seen = follower.next, seen + follower.seen
            assert await turn.wait() == "end_turn"
            async with rig.connect() as again:
                follower = await follow(again, session, next)
                log = await whole_log(again, session)
                follower.catch_up()
            assert seen + follower.seen == log


async def test_a_client_that_does_not_read_harms_nobody_and_gets_everything_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its agent never waits for it, and memory holds a ring, not what it has not read."""
    monkeypatch.setattr(logs, "RING_LARGE", 200_000)
    count = 30_000
    with trio.fail_after(120):
        async with open_rig(journal=tmp_path / "j") as rig, rig.connect() as user:
            session = await user.open("k")
            slow = rig.raw()
            attach = {"sessionId": session, "since": 1}
            await slow.send_all(jsonrpc.request(1, "_trio_broker/attach", jsonrpc.encode(attach)))
            agent = rig.agent("k")
            turn = user.later(user.prompt, session, "hang")
            await user.wait_phase("k", "working")
            for start in range(0, count, 100):
                await agent.write(b"".join(update(agent.session_id, n) for n in range(start, start + 100)))
            while len(user.messages) < count:  # noqa: ASYNC110  # the other client hears all of it meanwhile
                await trio.sleep(0.01)
            await rig.broker.keeper.flush()
            held = sum(len(record.data) for record in rig.session("k").log._ring)
            assert held < 1_000_000
            await user.cancel(session)
            assert await turn.wait() == "cancelled"
            assert await read_numbers(slow, count) == list(range(count))


def update(session_id: str, number: int) -> bytes:
    content = {"type": "text", "text": f"{number} ".ljust(150, ".")}
    params = {"sessionId": session_id, "update": {"sessionUpdate": "agent_message_chunk", "content": content}}
    return jsonrpc.notification("session/update", jsonrpc.encode(params))


async def read_numbers(stream: trio.SocketStream, count: int) -> list[int]:
    splitter, found = jsonrpc.LineSplitter(), list[int]()
    while len(found) < count:
        for line in splitter.feed(bytes(await stream.receive_some(65536))):
            message = jsonrpc.parse_envelope(line)
            if message.method == "session/update":
                text = jsonrpc.decode(message.params)["update"]["content"]["text"]
                found.append(int(text.split()[0]))
    await stream.aclose()
    return found


async def introduced(user: User) -> User:
    await user.call("initialize", protocolVersion=1)
    return user


async def test_a_plain_client_loads_the_log_and_goes_on_live(autojump_clock: MockClock) -> None:
    with trio.fail_after(120):
        async with open_rig() as rig, rig.connect() as user, rig.connect() as editor:
            session = await user.open("k")
            await user.prompt(session, "say one; say two")
            turn = user.later(user.prompt, session, "say three; wait 10; say four")
            await user.wait_phase("k", "working")
            await trio.sleep(1)
            await introduced(editor)
            await editor.call("session/load", sessionId=session, cwd="/tmp", mcpServers=[])
            loaded = [(one["sessionUpdate"], one["content"]["text"]) for one in editor.updates(session)]
            assert loaded == [
                ("user_message_chunk", "say one; say two"),
                ("agent_message_chunk", "onetwo"),
                ("user_message_chunk", "say three; wait 10; say four"),
                ("agent_message_chunk", "three"),
            ]
            assert await turn.wait() == "end_turn"
            await trio.sleep(1)
            assert editor.updates(session)[4:] == [
                {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "four"}}
            ]
            assert editor.events == [], "a plain client is spared our events"


async def test_the_reply_of_a_load_comes_after_the_replay_and_before_what_is_live(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(120):
        async with open_rig() as rig, rig.connect() as user, rig.connect() as editor:
            session = await user.open("k")
            await user.prompt(session, "say old")
            await introduced(editor)
            await editor.call("session/load", sessionId=session, cwd="/tmp", mcpServers=[])
            await user.prompt(session, "say new")
            await trio.sleep(1)
            kinds = ["update" if message.method else "reply" for message in editor.messages]
            assert kinds == ["reply", "update", "update", "reply", "update", "update"]


async def test_others_see_a_prompt_and_its_author_does_not(autojump_clock: MockClock) -> None:
    with trio.fail_after(120):
        async with open_rig() as rig, rig.connect() as one, rig.connect() as two:
            for user in (one, two):
                await introduced(user)
            session = (await one.call("session/new", cwd="/tmp", mcpServers=[]))["sessionId"]
            await two.call("session/resume", sessionId=session, cwd="/tmp", mcpServers=[])
            assert two.updates(session) == []
            assert await one.prompt(session, "say hello") == "end_turn"
            await trio.sleep(1)
            assert [update["sessionUpdate"] for update in one.updates(session)] == ["agent_message_chunk"]
            said = [(update["sessionUpdate"], update["content"]["text"]) for update in two.updates(session)]
            assert said == [("user_message_chunk", "say hello"), ("agent_message_chunk", "hello")]


@pytest.mark.parametrize("door", ["load", "resume"])
async def test_a_suspended_session_is_woken_by_whoever_takes_it_up(
    door: str, autojump_clock: MockClock
) -> None:
    with trio.fail_after(120):
        async with open_rig(habits=Habits(resume=True)) as rig, rig.connect() as user:
            session = await user.open("k")
            assert rig.session("k").suspend_if_idle()
            await user.wait_phase("k", "suspended")
            await introduced(user)
            await user.call(f"session/{door}", sessionId=session, cwd="/tmp", mcpServers=[])
            assert (await user.view("k"))["phase"] == "idle" and rig.agent("k").got("session/resume")


async def test_delete_forgets_a_session(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with open_rig(journal=tmp_path / "j") as rig, rig.connect() as user:
            await introduced(user)
            session = (await user.call("session/new", cwd="/tmp", mcpServers=[]))["sessionId"]
            await user.call("session/delete", sessionId=session)
            assert (await user.call("session/list"))["sessions"] == [] and not rig.agents.spawned[-1].alive()
            assert saved(rig) == []
            assert await user.call("session/delete", sessionId=session) == {}  # as ACP has it: it is gone


async def test_delete_forgets_a_session_that_was_closed(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with open_rig(journal=tmp_path / "j") as rig, rig.connect() as user:
            await introduced(user)
            session = (await user.call("session/new", cwd="/tmp", mcpServers=[]))["sessionId"]
            await user.prompt(session, "say hello")
            await user.call("session/close", sessionId=session)
            await user.call("_trio_broker/history", sessionId=session)  # it is there still
            assert await user.call("session/delete", sessionId=session) == {}
            with pytest.raises(NoSession):
                await user.call("_trio_broker/history", sessionId=session)


def saved(rig: Rig) -> list[Any]:
    assert rig.broker.keeper.journal is not None
    return rig.broker.keeper.journal.sessions()


async def test_a_prompt_that_is_sent_again_runs_once_and_both_are_told(autojump_clock: MockClock) -> None:
    with trio.fail_after(120):
        async with open_rig() as rig, rig.connect() as one, rig.connect() as two:
            session = await one.open("k")
            await introduced(two)
            first = one.later(one.prompt, session, "wait 5; say done", promptId="p")
            await one.wait_phase("k", "working")
            again = two.later(two.prompt, session, "wait 5; say done", promptId="p")
            assert await first.wait() == await again.wait() == "end_turn"
            assert rig.agent("k").prompts() == ["wait 5; say done"]
            assert (
                "has run already" in (await two.later(two.prompt, session, "x", promptId="p").fails()).message
            )
            submitted = await two.submit(session, "x", promptId="p")
            assert submitted["ended"]["outcome"] == "completed"


@pytest.mark.parametrize(
    ("until", "text"), [("idle", "wait 5"), ("ask", "wait 5; ask go"), ("closed", "wait 5")]
)
async def test_wait_answers_when_it_has_come_to_that(
    until: str, text: str, autojump_clock: MockClock
) -> None:
    async def never(_: object) -> object:
        await trio.sleep_forever()

    with trio.fail_after(120):
        async with open_rig() as rig, rig.connect(never) as user, rig.connect() as waiter:
            session = await user.open("k")
            await user.submit(session, text)
            waiting = waiter.later(waiter.call, "_trio_broker/wait", key="k", until=until)
            await trio.sleep(4)
            assert not waiting.done
            await trio.sleep(2)
            if until == "closed":
                await user.call("_trio_broker/close", key="k")
            assert (await waiting.wait())["phase"] == {"ask": "waiting"}.get(until, until)
            assert (await waiter.call("_trio_broker/wait", key="k", until=until)) if until == "idle" else True


async def test_a_page_of_long_events_is_short_and_says_where_to_read_on(tmp_path: Path) -> None:
    """Or whoever looks at a session with long messages would have the broker hold everybody up."""
    with trio.fail_after(60):
        async with open_rig(journal=tmp_path / "journal") as rig, rig.connect() as user:
            session = await user.open("a")
            for _ in range(6):
                await user.prompt(session, f"say {'x' * 400_000}")
            found: list[dict[str, Any]] = []
            pages = 0
            page: dict[str, Any] = {"next": 1, "last": 1}
            while page["next"] <= page["last"]:
                page = await user.call("_trio_broker/events", sessionId=session, since=page["next"])
                found += page["events"]
                pages += 1
                assert len(jsonrpc.encode(page)) < 2 * 1024 * 1024
            assert [event["seq"] for event in found] == list(range(1, page["last"] + 1))
            assert pages > 2


async def test_wait_hears_that_a_start_has_come_to_its_end(autojump_clock: MockClock) -> None:
    with trio.fail_after(600):
        async with open_rig(habits=Habits(start=5)) as rig, rig.connect() as user, rig.connect() as waiter:
            user.later(user.open, "k")
            await trio.sleep(1)
            waiting = waiter.later(waiter.call, "_trio_broker/wait", key="k")
            await trio.sleep(3)
            assert not waiting.done
            assert (await waiting.wait())["phase"] == "idle"


async def test_who_waits_for_a_prompt_that_nobody_has_sent_is_told_so_at_once() -> None:
    with trio.fail_after(60):
        async with open_rig() as rig, rig.connect() as user:
            await user.open("k")
            waiting = user.later(user.call, "_trio_broker/wait", key="k", promptId="mistyped")
            error = await waiting.fails()
            assert isinstance(error, NoPrompt) and "'mistyped'; `trio-broker queue list`" in error.message
