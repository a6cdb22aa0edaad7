"""Whatever order answers, errors, departures and cancels come in: the agent gets one answer, the first that is one.

A model says what each step does to a question, and the broker has to agree. Then all steps at once: who is first is
chance, but there is one winner, one answer, and no dialog that nobody closes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import attrs
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from trio_broker.errors import BrokerError
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.jsonrpc import Message
from trio_broker.testing.clients.user import Json, User
from trio_broker.testing.in_process.rig import Rig, open_rig

MOMENT = 0.1  # virtual seconds: everything that can happen by itself has happened then
PERMISSION = "session/request_permission"
PEOPLE = 3
SELECTED = {
    name: {"outcome": {"outcome": "selected", "optionId": name}} for name in ("allow", "reject", "invented")
}
CANCELLED: Json = {"outcome": {"outcome": "cancelled"}}
REPLIES: dict[str, Json] = {
    "allow": {"result": SELECTED["allow"]},
    "reject": {"result": SELECTED["reject"]},
    "close": {"result": CANCELLED},
    "invent": {"result": SELECTED["invented"]},
    "nonsense": {"result": {"outcome": 7}},
    "error": {"error": {"code": -32601, "message": "Method not found"}},
}
DONE = {"result": CANCELLED}
WITHDRAWN = {"error": {"code": -32800, "message": "Request cancelled"}}

ABSTAIN = ("close", "invent", "nonsense", "error", "leave", "detach", "attach")  # most of them end nothing
END = ("allow", "reject", "verb", "cancel", "withdraw")
WHO = st.integers(0, PEOPLE - 1)
STEPS = st.tuples(
    st.lists(st.tuples(st.sampled_from(ABSTAIN), WHO), max_size=6),
    st.lists(st.tuples(st.sampled_from(ABSTAIN + END), WHO), max_size=3),
).map(lambda halves: halves[0] + halves[1])


async def think(message: Message) -> object:
    """No answer of the client library's: the test writes them, late ones and second ones too."""
    await trio.sleep_forever()


@attrs.define(eq=False)
class Person:
    """A client whose answers are written by hand; `run` is its connection."""

    user: User = attrs.field(init=False)
    session: str = ""
    left: trio.Event = attrs.field(factory=trio.Event)
    replied: set[bytes] = attrs.field(factory=set)

    async def run(self, rig: Rig, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with rig.connect(think) as self.user:
            self.session = await self.user.open("k")
            task_status.started()
            await self.left.wait()

    @property
    def dialogs(self) -> list[bytes]:
        """The ids under which it was asked."""
        return [message.id or b"" for message in self.user.messages if message.method == PERMISSION]

    @property
    def closed(self) -> list[bytes]:
        """The ids of the dialogs that it was told to close."""
        told = [message for message in self.user.messages if message.method == "$/cancel_request"]
        return [jsonrpc.members(message.params)["requestId"] for message in told]

    @property
    def shows_one(self) -> bool:
        """Whether a dialog is open at it."""
        return not self.left.is_set() and bool({*self.dialogs} - {*self.closed} - self.replied)

    def reply(self, how: str) -> None:
        """Answer the newest dialog, whether it is still open or not."""
        if self.dialogs:
            id = self.dialogs[-1]
            self.replied.add(id)
            text = jsonrpc.encode({"jsonrpc": "2.0", "id": jsonrpc.decode(id), **REPLIES[how]})
            self.user.client.outbox.put(text + b"\n")

    async def attach(self) -> None:
        await self.user.call("_trio_broker/attach", key="k")

    async def detach(self) -> None:
        await self.user.call("_trio_broker/detach", key="k")


@attrs.define
class Model:
    """What is to come of it. `there`: who is attached, in the order in which they came; 0 has prompted."""

    there: list[int] = attrs.field(factory=lambda: [*range(PEOPLE)])
    asked: set[int] = attrs.field(factory=lambda: {*range(PEOPLE)})
    abstained: set[int] = attrs.field(factory=set)
    gone: set[int] = attrs.field(factory=set)
    answer: Json | None = None

    @property
    def primary(self) -> int | None:
        return 0 if 0 in self.there else self.there[-1] if self.there else None

    def step(self, what: str, who: int) -> None:
        if what in REPLIES:
            self._reply(what, who)
        elif what in ("leave", "detach"):
            self.gone |= {who} if what == "leave" else set()
            self.there = [one for one in self.there if one != who]
            self.asked.discard(who)
            self.abstained.discard(who)
        elif what == "attach" and who not in self.gone:  # anew, if it was attached already
            self.there = [one for one in self.there if one != who] + [who]
            self.abstained.discard(who)
            self.asked.add(who)
        elif what in ("verb", "cancel", "withdraw"):
            ends = {"verb": REPLIES["allow"], "cancel": DONE, "withdraw": WITHDRAWN}
            self.answer = self.answer or ends[what]

    def _reply(self, what: str, who: int) -> None:
        if self.answer is not None or who not in self.asked:
            return
        self.asked.discard(who)
        dismisses = what == "close" and self.asked and who != self.primary
        if what in ("allow", "reject") or (what == "close" and not dismisses):
            self.answer = REPLIES[what]
        else:
            self.abstained.add(who)


@attrs.define(eq=False)
class Scene:
    """A question that is open at `PEOPLE` clients, and one more that is not attached."""

    rig: Rig
    people: list[Person]
    other: User

    async def act(self, what: str, who: int) -> None:
        person = self.people[who]
        if what in REPLIES:
            if not person.left.is_set():
                person.reply(what)
        elif what == "leave":
            person.left.set()
        elif what in ("attach", "detach"):
            if not person.left.is_set():
                await _shrug(person.attach if what == "attach" else person.detach)
        elif what == "verb":
            await _shrug(self.allow)
        elif what == "cancel":
            await self.other.cancel(person.session)
        else:
            await self.rig.agent("k").send({"method": "$/cancel_request", "params": {"requestId": "the ask"}})

    async def allow(self) -> None:
        (ask,) = (await self.other.call("_trio_broker/asks"))["asks"] or [{"askId": "none"}]
        await self.other.call("_trio_broker/answer", askId=ask["askId"], answer="allow")

    def heard(self) -> list[Json]:
        """What the agent got for its question."""
        heard = self.rig.agent("k").received
        found = [message for message in heard if "method" not in message and message["id"] == "the ask"]
        return [{name: one[name] for name in ("result", "error") if name in one} for one in found]

    async def check(self) -> None:
        """One answer to the agent, one on record, and no dialog that nobody has closed or answered."""
        assert len(self.heard()) == 1
        events: list[Json] = (await self.other.call("_trio_broker/events", key="k"))["events"]
        (asked,) = [event for event in events if event["kind"] == "ask"]
        (answer,) = [event for event in events if event["kind"] == "answer"]
        assert answer["askId"] == asked["askId"] and answer["by"]
        for person in self.people:
            if not person.left.is_set():
                assert len(person.closed) == len(set(person.closed))
                assert {*person.closed} | person.replied == {*person.dialogs}
        assert (await self.other.call("_trio_broker/asks"))["asks"] == []


async def _shrug(call: Callable[[], Awaitable[Any]]) -> None:
    """It may come too late, or where there is no connection any more."""
    try:
        await call()
    except BrokerError:
        pass  # what it should have done is checked elsewhere


async def play(act: Callable[[Scene], Awaitable[None]]) -> None:
    with trio.fail_after(600):
        async with (
            open_rig() as rig,
            rig.connect(think) as other,
            trio.open_nursery() as nursery,
        ):
            people = [Person() for _ in range(PEOPLE)]
            for person in people:
                await nursery.start(person.run, rig)
            author = people[0]
            author.user.later(author.user.prompt, author.session, "hang")
            await other.wait_phase("k", "working")
            other.later(rig.agent("k").ask, "go", id="the ask")
            await trio.sleep(MOMENT)
            assert [len(person.dialogs) for person in people] == [1] * PEOPLE
            scene = Scene(rig, people, other)
            await act(scene)
            await trio.sleep(MOMENT)
            await _shrug(scene.allow)  # what nobody has answered yet
            await trio.sleep(MOMENT)
            await scene.check()
            nursery.cancel_scope.cancel()


async def one_after_the_other(steps: list[tuple[str, int]], scene: Scene) -> None:
    model = Model()
    for what, who in steps:
        model.step(what, who)
        await scene.act(what, who)
        await trio.sleep(MOMENT)
        assert scene.heard() == ([] if model.answer is None else [model.answer]), (what, who)
        open = {number for number, person in enumerate(scene.people) if person.shows_one}
        assert open == (model.asked if model.answer is None else set()), (what, who)


async def all_at_once(steps: list[tuple[str, int]], scene: Scene) -> None:
    async with trio.open_nursery() as nursery:
        for what, who in steps:
            nursery.start_soon(scene.act, what, who)


@settings(max_examples=100)
@given(STEPS)
def test_each_step_does_to_a_question_what_the_model_says(steps: list[tuple[str, int]]) -> None:
    clock = MockClock(autojump_threshold=0)
    trio.run(play, partial(one_after_the_other, steps), clock=clock)


@settings(max_examples=60)
@given(STEPS)
def test_steps_that_come_at_once_have_one_winner(steps: list[tuple[str, int]]) -> None:
    clock = MockClock(autojump_threshold=0)
    trio.run(play, partial(all_at_once, steps), clock=clock)
