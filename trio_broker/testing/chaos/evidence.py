"""What was seen of a broker, and what of it breaks a promise. Pure: each check gives sentences, none if all is well."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

Json = dict[str, Any]


@attrs.define(eq=False)
class Prompt:
    """One prompt of somebody: it has the agent say `id.0 id.1 …`, so many words. `reply`: the outcome that was told."""

    id: str
    session: str
    words: int
    accepted: bool = False
    reply: str | None = None
    cancelled: bool = False

    @property
    def text(self) -> str:
        return "; ".join(f"say {self.id}.{number}" for number in range(self.words))


@attrs.define(eq=False)
class Told:
    """What one client was told of one session, in one life of the broker: by number, from `first` on."""

    session: str
    life: int
    next: int
    events: dict[int, str] = attrs.field(factory=dict)
    sure: int = 0  # up to here it has to outlive even a kill
    wrong: list[str] = attrs.field(factory=list)

    def hear_update(self, update: Json) -> None:
        self._add(f"update {word_of(update)}")

    def hear_event(self, event: Json) -> None:
        if event["seq"] != self.next:
            self.wrong.append(f"{self.session}: event {event['seq']} came where {self.next} was due")
            self.next = event["seq"]
        self._add(_named(event))
        if event["kind"] == "ended":
            self.sure = event["seq"]

    def _add(self, what: str) -> None:
        self.events[self.next] = what
        self.next += 1


def word_of(update: Json) -> str:
    """What an agent said, or which kind of update it is."""
    content = update.get("content")
    text = content.get("text") if isinstance(content, dict) else None
    return text.strip() if isinstance(text, str) else str(update.get("sessionUpdate"))


def _named(event: Json) -> str:
    if event["kind"] == "update":
        return f"update {word_of(event['update'])}"
    return f"{event['kind']} {event.get('promptId', '')}".strip()


@attrs.define(eq=False)
class Evidence:
    """`logs`: each session's events at the end. `hurt`: what was done to a session's agent. `kills`: of the broker."""

    prompts: list[Prompt] = attrs.field(factory=list)
    told: list[Told] = attrs.field(factory=list)
    logs: dict[str, list[Json]] = attrs.field(factory=dict)
    hurt: Counter[str] = attrs.field(factory=Counter)
    killed_lives: set[int] = attrs.field(factory=set)
    restarts: int = 0
    left: list[str] = attrs.field(factory=list)  # processes that nobody owns any more
    unanswered: list[str] = attrs.field(factory=list)  # sentences about calls
    growth: dict[str, tuple[float, float]] = attrs.field(factory=dict)  # what there is at rest, and its bound


def violations(evidence: Evidence) -> list[str]:
    """Every broken promise, as a sentence."""
    return [
        *_numbers(evidence.logs),
        *_settled(evidence),
        *_words(evidence),
        *_outcomes(evidence),
        *_heard(evidence),
        *(f"left behind: {process}" for process in evidence.left),
        *evidence.unanswered,
        *(
            f"{what} at rest: {is_} (bound {bound})"
            for what, (is_, bound) in evidence.growth.items()
            if is_ > bound
        ),
    ]


def _numbers(logs: Mapping[str, list[Json]]) -> Iterable[str]:
    for session, events in logs.items():
        for due, event in enumerate(events, 1):
            if event["seq"] != due:
                yield f"{session}: its log has number {event['seq']} where {due} is due"
                break


def _settled(evidence: Evidence) -> Iterable[str]:
    for prompt in evidence.prompts:
        kinds = Counter(event["kind"] for event in _of_prompt(evidence, prompt))
        if kinds["started"] > 1:
            yield f"{prompt.id}: started {kinds['started']} times"
        if kinds["ended"] > 1 or (prompt.accepted and not kinds["ended"]):
            yield f"{prompt.id}: ended {kinds['ended']} times"


def _of_prompt(evidence: Evidence, prompt: Prompt) -> list[Json]:
    log = evidence.logs.get(prompt.session, [])
    return [event for event in log if event.get("promptId") == prompt.id]


def outcome_of(evidence: Evidence, prompt: Prompt) -> str | None:
    """How the log says that it ended."""
    ends = [event["outcome"] for event in _of_prompt(evidence, prompt) if event["kind"] == "ended"]
    return ends[0] if ends else None


def _words(evidence: Evidence) -> Iterable[str]:
    said: dict[str, list[int]] = {}
    for events in evidence.logs.values():
        for event in events:
            word = word_of(event["update"]) if event["kind"] == "update" else ""
            id, dot, number = word.rpartition(".")
            if dot and number.isdigit():
                said.setdefault(id, []).append(int(number))
    for prompt in evidence.prompts:
        numbers = said.get(prompt.id, [])
        if numbers != list(range(len(numbers))):
            yield f"{prompt.id}: its words came as {numbers}"
        elif outcome_of(evidence, prompt) == "completed" and len(numbers) != prompt.words:
            yield f"{prompt.id}: completed with {len(numbers)} of {prompt.words} words"


def _outcomes(evidence: Evidence) -> Iterable[str]:
    for prompt in evidence.prompts:
        outcome = outcome_of(evidence, prompt)
        if outcome == "failed" and not evidence.hurt[prompt.session] and not evidence.restarts:
            yield f"{prompt.id}: failed, and nothing was done to its agent"
        if outcome == "unknown" and not evidence.killed_lives:
            yield f"{prompt.id}: unknown, and no broker was killed"
        if outcome == "cancelled" and not prompt.cancelled and not evidence.restarts:
            yield f"{prompt.id}: cancelled, and nobody did"
        if prompt.reply is not None and prompt.reply != outcome:
            yield f"{prompt.id}: its client was told {prompt.reply}, its log says {outcome}"


def _heard(evidence: Evidence) -> Iterable[str]:
    for told in evidence.told:
        yield from told.wrong
        log = {event["seq"]: _named(event) for event in evidence.logs.get(told.session, [])}
        upto = told.sure if told.life in evidence.killed_lives else max(told.events, default=0)
        for number, what in told.events.items():
            if number <= upto and log.get(number) != what:
                yield f"{told.session}: a client was told {what!r} as {number}, the log has {log.get(number)!r}"
                break
