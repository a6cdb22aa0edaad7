"""What was seen of a broker, and what of it breaks a promise. Pure: each check gives sentences, none if all is well."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import zip_longest
from operator import itemgetter
from typing import Any

import attrs

Json = dict[str, Any]
LATE = ":late"
FOREIGN = "foreign"  # the first word of what an agent says in the name of another's session
MAX_TEXT = 200  # characters of a word that are kept


@attrs.define(eq=False)
class Prompt:
    """One prompt of somebody: it has the agent say `id.0 id.1 …`, so many words. `reply`: the outcome that was told.

    `garbage`: other acts of the agent, which come between the words one by one, and after the last of them.
    """

    id: str
    session: str
    words: int
    accepted: bool = False
    reply: str | None = None
    cancelled: bool = False
    garbage: list[str] = attrs.field(factory=list)

    @property
    def text(self) -> str:
        said = [f"say {self.id}.{number}" for number in range(self.words)]
        return "; ".join(act for pair in zip_longest(said, self.garbage) for act in pair if act)

    @property
    def late(self) -> str:
        """What words said after the turn's end begin with: `late.0 late.1 …`."""
        return f"{self.id}{LATE}"


@attrs.define(eq=False)
class ReceivedLog:
    """What one client was told of one session, in one life of the broker: by number, from `first` on."""

    session: str
    life: int
    next: int
    events: dict[int, str] = attrs.field(factory=dict)
    durable: int = 0  # up to here it has to outlive even a kill
    errors: list[str] = attrs.field(factory=list)

    def add_update(self, update: object) -> None:
        self._append(f"update {update_text(update)}")

    def add_event(self, event: Json) -> None:
        if event["seq"] != self.next:
            self.errors.append(f"{self.session}: event {event['seq']} came where {self.next} was due")
            self.next = event["seq"]
        self._append(_event_text(event))
        self.next = next_number(event)
        if event["kind"] == "ended":
            self.durable = event["seq"]

    def _append(self, what: str) -> None:
        self.events[self.next] = what
        self.next += 1


def next_number(event: Json) -> int:
    """The number that comes next: a gap has those of all that is lost in it."""
    seq: int = event["seq"]
    return max(seq, event.get("to", 0) if event["kind"] == "gap" else 0) + 1


def update_text(update: object) -> str:
    """What an agent said, or which kind of update it is; an agent may write what is no update at all."""
    if not isinstance(update, dict):
        return f"no update: {update!r}"
    content = update.get("content")
    text = content.get("text") if isinstance(content, dict) else None
    return text.strip()[:MAX_TEXT] if isinstance(text, str) else str(update.get("sessionUpdate"))


def _event_text(event: Json) -> str:
    if event["kind"] == "update":
        return f"update {update_text(event.get('update'))}"
    return f"{event['kind']} {event.get('promptId') or event.get('why') or ''}".strip()


@attrs.define(eq=False)
class Evidence:
    """`logs`: each session's events at the end. `harmed`: faults of a session's agent. `restarts`: of the broker."""

    prompts: list[Prompt] = attrs.field(factory=list)
    received: list[ReceivedLog] = attrs.field(factory=list)
    logs: dict[str, list[Json]] = attrs.field(factory=dict)
    harmed: Counter[str] = attrs.field(factory=Counter)
    killed_lives: set[int] = attrs.field(factory=set)
    restarts: int = 0
    leftovers: list[str] = attrs.field(factory=list)  # processes that nobody owns any more
    unanswered: list[str] = attrs.field(factory=list)  # sentences about calls
    cut_short: str = ""  # why there are no logs
    growth: dict[str, tuple[float, float]] = attrs.field(factory=dict)  # what there is at rest, and its bound


def violations(evidence: Evidence) -> list[str]:
    """Every broken promise, as a sentence."""
    if evidence.cut_short:
        return [evidence.cut_short, *evidence.unanswered]
    return [
        *_check_numbers(evidence.logs),
        *_check_ends(evidence),
        *_check_words(evidence),
        *_check_places(evidence),
        *_check_outcomes(evidence),
        *_check_received(evidence),
        *(f"left behind: {process}" for process in evidence.leftovers),
        *evidence.unanswered,
        *(
            f"{what} at rest: {is_} (bound {bound})"
            for what, (is_, bound) in evidence.growth.items()
            if is_ > bound
        ),
    ]


def _check_numbers(logs: Mapping[str, list[Json]]) -> Iterable[str]:
    for session, events in logs.items():
        due = 1
        for event in events:
            if event["seq"] != due:
                yield f"{session}: its log has number {event['seq']} where {due} is due"
                break
            due = next_number(event)


def _check_ends(evidence: Evidence) -> Iterable[str]:
    for prompt in evidence.prompts:
        found = _of_prompt(evidence, prompt)
        kinds = Counter(event["kind"] for event in found)
        if any(_starts_twice(found)):
            yield f"{prompt.id}: started {kinds['started']} times"
        if kinds["ended"] > 1 or (prompt.accepted and not kinds["ended"]):
            yield f"{prompt.id}: ended {kinds['ended']} times"


def _starts_twice(events: list[Json]) -> Iterable[bool]:
    """For each event, whether it starts the prompt again that was not queued again.

    A broker that stops queues a durable prompt again which was started and not sent; the next broker starts it.
    """
    started = False
    for event in events:
        yield started and event["kind"] == "started"
        started = event["kind"] == "started" or (started and event["kind"] != "queued")


def _of_prompt(evidence: Evidence, prompt: Prompt) -> list[Json]:
    log = evidence.logs.get(prompt.session, [])
    return [event for event in log if event.get("promptId") == prompt.id]


def outcome_of(evidence: Evidence, prompt: Prompt) -> str | None:
    """How the log says that it ended."""
    ends = [event["outcome"] for event in _of_prompt(evidence, prompt) if event["kind"] == "ended"]
    return ends[0] if ends else None


def _check_words(evidence: Evidence) -> Iterable[str]:
    said: dict[str, list[int]] = {}
    for events in evidence.logs.values():
        for event in events:
            id, number = _word_number(event)
            if number is not None:
                said.setdefault(id, []).append(number)
    for prompt in evidence.prompts:
        numbers, late = said.get(prompt.id, []), said.get(prompt.late, [])
        if late != list(range(len(late))):
            yield f"{prompt.id}: its late words came as {late}"
        if numbers != list(range(len(numbers))):
            yield f"{prompt.id}: its words came as {numbers}"
        elif outcome_of(evidence, prompt) == "completed" and len(numbers) != prompt.words:
            yield f"{prompt.id}: completed with {len(numbers)} of {prompt.words} words"


def _word_number(event: Json) -> tuple[str, int | None]:
    """Whose word it is, and which of them."""
    word = update_text(event.get("update")) if event["kind"] == "update" else ""
    id, _, number = word.rpartition(".")
    return id, int(number) if id and number.isdigit() else None


def _check_places(evidence: Evidence) -> Iterable[str]:
    """Each word stands in its own session's log, and on the right side of its turn's end."""
    prompts = {prompt.id: prompt for prompt in evidence.prompts}
    for session, events in evidence.logs.items():
        ended: dict[str, str] = {}
        for event in events:
            if event["kind"] == "ended":
                ended[event["promptId"]] = event["outcome"]
            word, (id, number) = _event_text(event), _word_number(event)
            if word.split()[:2] == ["update", FOREIGN]:
                yield f"{session}: its log has what was said in its name by another's agent, or to another: {word!r}"
            own = id.removesuffix(LATE)
            if number is None or own not in prompts:
                continue
            if prompts[own].session != session:
                yield f"{own}: {word!r} stands in the log of another session"
            if id != own and own not in ended:
                yield f"{own}: {word!r} was said after its turn, and stands before its end"
            if id == own and ended.get(own) == "completed":
                yield f"{own}: completed, and {word!r} came behind its end"


def _check_outcomes(evidence: Evidence) -> Iterable[str]:
    for prompt in evidence.prompts:
        outcome = outcome_of(evidence, prompt)
        if outcome == "failed" and not evidence.harmed[prompt.session] and not evidence.restarts:
            yield f"{prompt.id}: failed, and nothing was done to its agent"
        if outcome == "unknown" and not evidence.killed_lives:
            yield f"{prompt.id}: unknown, and no broker was killed"
        if outcome == "cancelled" and not prompt.cancelled and not evidence.restarts:
            yield f"{prompt.id}: cancelled, and nobody did"
        if prompt.reply is not None and prompt.reply != outcome:
            yield f"{prompt.id}: its client was told {prompt.reply}, its log says {outcome}"


def _check_received(evidence: Evidence) -> Iterable[str]:
    for received in evidence.received:
        yield from received.errors
        log = evidence.logs.get(received.session, [])
        upto = received.durable if received.life in evidence.killed_lives else max(received.events, default=0)
        for number, what in received.events.items():
            there = _event_at(log, number)
            lost = number > upto and (there is None or there.startswith("gap"))
            if there != what and not lost:
                yield f"{received.session}: a client was told {what!r} as {number}, the log has {there!r}"
                break


def _event_at(log: list[Json], number: int) -> str | None:
    """What has that number in a log; all that are lost in a gap are that gap."""
    place = bisect_right(log, number, key=itemgetter("seq")) - 1
    return _event_text(log[place]) if place >= 0 and number < next_number(log[place]) else None
