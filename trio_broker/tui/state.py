"""What the dashboard knows and where the person in front of it is: folded from pictures, pages, keys and mishaps.

Pure: a value in, a value out; `now` is the caller's clock, in seconds.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from trio_broker.tui.editor import Editor
from trio_broker.tui.transcript import Transcript

Json = dict[str, Any]

SAMPLES = 8  # of a sparkline
SAMPLE = 2.0  # seconds between two of them
NOTICE = 6.0  # seconds a notice stays
NO_BROKER = "there is no broker to tell that"
ELICITATION = "elicitation/create"
LOOK = 0.4  # seconds a question must have been on the screen before a key answers it


class Mode(enum.Enum):
    TABLE = "table"
    FILTER = "filter"
    PROMPT = "prompt"
    INTERRUPT = "interrupt"
    EDIT = "edit"
    NEW = "new"
    CONFIRM = "confirm"
    HELP = "help"


class Tab(enum.Enum):
    TRANSCRIPT = "transcript"
    QUEUE = "queue"
    LOG = "log"
    STDERR = "stderr"
    FACTS = "facts"


SORTS = (
    "opened",
    "key",
    "agent",
    "phase",
    "turn",
    "quiet",
    "queue",
    "updates",
    "tokens",
    "cost",
    "cpu",
    "memory",
)
URGENCY = ("waiting", "dead", "cancelling", "working", "starting", "idle", "suspended", "closed")


@attrs.frozen
class Trend:
    """Updates a second of one session: `rate` now, and samples of it for a sparkline."""

    events: int
    at: float
    rate: float = 0.0
    samples: tuple[float, ...] = ()

    def seen(self, events: int, at: float) -> Trend:
        """Later: `events` at the broker's time `at`."""
        if at - self.at < SAMPLE:
            return self
        rate = max(0, events - self.events) / (at - self.at)
        missed = min(SAMPLES, int((at - self.at) / SAMPLE))
        return Trend(events, at, rate, (*self.samples, *[rate] * missed)[-SAMPLES:])


@attrs.frozen
class Call:
    """A call to make to the broker; `done` is told when it has worked. `then`: another call after it.

    `gives`: what its result makes of the state, at the caller's time; `fails`: what a refusal makes of it.
    """

    method: str
    params: Json
    done: str = ""
    then: Call | None = None
    gives: Callable[[State, Json, float], State] | None = None
    fails: Callable[[State, float], State] | None = None


class Command(enum.Enum):
    QUIT = "quit"
    SUSPEND = "suspend"
    REDRAW = "redraw"


Effect = Call | Command


@attrs.frozen
class Pending:
    """A question to the person at the keyboard, and what a yes does."""

    text: str
    call: Call


@attrs.frozen
class State:
    """`picture` is the last one, which came at `received`; `gone`: since when there is no broker, and why.

    `roles`: the sessions that the dashboard is attached to, as the person wished, and as what. `chosen`: a prompt that
    is queued, `editing`: the one in the editor. `extent`: how many lines the pane had when it was scrolled.
    `draft`: a form that was sent, until there is its session.
    `last_words`: what an agent wrote to stderr, and those lines of its stdout that were no messages.
    """

    picture: Json | None = None
    received: float = 0.0
    gone: tuple[float, str] | None = None
    cwd: str = "/"
    trends: Mapping[str, Trend] = attrs.field(factory=dict)
    selected: str | None = None
    sort: str = "opened"
    reverse: bool = False
    filter: str = ""
    mode: Mode = Mode.TABLE
    detail: bool = False
    tab: Tab = Tab.TRANSCRIPT
    scroll: int = 0
    extent: int = 0
    help_at: int = 0
    chosen: str | None = None
    editor: Editor = attrs.field(factory=Editor)
    history: tuple[str, ...] = ()
    form: tuple[str, ...] = ()
    draft: tuple[str, ...] = ()
    pending: Pending | None = None
    notice: tuple[str, float, bool] | None = None  # text, until when, whether it is a mishap
    transcript: Transcript | None = None
    last_words: tuple[str, str, tuple[str, ...]] | None = None  # key, stderr, lines
    ask: tuple[str, str] | None = None  # key and id of the question that keys answer
    ask_since: float = 0.0
    roles: Mapping[str, str] = attrs.field(factory=dict)
    editing: str | None = None

    @property
    def sessions(self) -> list[Json]:
        return [] if self.picture is None else self.picture["sessions"]

    def clock(self, now: float) -> float:
        """The broker's time now; it stands still while there is no broker."""
        at = 0.0 if self.picture is None else float(self.picture["at"])
        return at + (self.gone[0] if self.gone else now) - self.received

    @property
    def view(self) -> Json | None:
        """The selected session."""
        return next((view for view in self.sessions if view["key"] == self.selected), None)

    @property
    def queue_at(self) -> int:
        """The place of the chosen prompt in the selected session's queue; the first, if it is not there any more."""
        queued = [] if self.view is None else self.view["queued"]
        return next((at for at, turn in enumerate(queued) if turn["promptId"] == self.chosen), 0)

    def asks(self) -> list[tuple[Json, Json]]:
        """Every open question with its session, the longest waiting first."""
        found = [(view, ask) for view in self.sessions for ask in view["asks"]]
        return sorted(found, key=lambda one: float(one[1]["since"] or 0))

    def asked(self) -> tuple[Json, Json] | None:
        """The question that keys answer."""
        return next((one for one in self.asks() if name_of(*one) == self.ask), None)

    def rows(self) -> list[Json]:
        """The sessions as the table has them: filtered and sorted."""
        words = self.filter.lower().split()
        found = (
            [view for view in self.sessions if all(word in _haystack(view) for word in words)]
            if words
            else self.sessions
        )
        if self.sort == "opened":
            return found[::-1] if self.reverse else list(found)
        return sorted(found, key=lambda view: _rank(self, view), reverse=self.reverse)


def name_of(view: Json, ask: Json) -> tuple[str, str]:
    return view["key"], ask["askId"]


def amount_of(usage: Json) -> float:
    """What an agent says that it has cost, 0 where it does not say."""
    cost = usage.get("cost")
    return number_of(cost.get("amount")) if isinstance(cost, dict) else 0.0


def number_of(value: object) -> float:
    """A number that an agent gave, 0 where it gave something else."""
    try:
        number = float(value) if isinstance(value, int | float) else 0.0
    except OverflowError:
        return 0.0
    return number if math.isfinite(number) else 0.0


@attrs.frozen
class Choice:
    """An answer that can be given by a key: what it is called, whether it refuses, and what answers so."""

    name: str
    refuses: bool
    params: Json


def answers(ask: Json) -> list[Choice]:
    """What keys can answer to a question: the options of a permission; to a form only no, and nothing to the rest."""
    if ask["method"] == ELICITATION:
        accept = [] if ask["mode"] == "form" else [Choice("Accept", False, {"answer": "allow"})]
        return [*accept, Choice("Decline", True, {"answer": "deny"})]
    options = [option for option in ask["options"] if isinstance(option, dict)]
    return [
        Choice(
            str(option.get("name") or option.get("optionId")),
            str(option.get("kind") or "").startswith("reject"),
            {"optionId": option.get("optionId")},
        )
        for option in options[:9]
    ]


def _haystack(view: Json) -> str:
    return f"{view['key']} {view['agent']} {view['phase']} {view['cwd']} {view['title'] or ''}".lower()


def _rank(state: State, view: Json) -> Any:
    """Smaller is higher: the busiest, the longest, the largest first."""
    usage, use = view.get("usage") or {}, view.get("use") or {}
    trend = state.trends.get(view["key"])
    late = float("inf")
    ranks: dict[str, Any] = {
        "key": view["key"].lower(),
        "agent": str(view["agent"]).lower(),
        "queue": -view["queue"],
        "cost": -amount_of(usage),
        "phase": URGENCY.index(view["phase"]) if view["phase"] in URGENCY else len(URGENCY),
        "quiet": late if view["heard_at"] is None else view["heard_at"],
        "turn": late if view["turn_since"] is None else view["turn_since"],
        "updates": -(trend.rate if trend else 0),
        "tokens": -number_of(usage.get("used")),
        "cpu": -(use.get("cpu") or 0),
        "memory": -(use.get("memory") or 0),
    }
    return ranks[state.sort], view["key"]


def saw(state: State, picture: Json, now: float) -> State:
    """A picture has come."""
    trends = {}
    for view in picture["sessions"]:
        last = state.trends.get(view["key"])
        events, at = view["events"], picture["at"]
        fresh = last is None or events < last.events or at < last.at
        trends[view["key"]] = Trend(events, at) if fresh or last is None else last.seen(events, at)
    back = state.gone is not None and state.picture is not None
    state = attrs.evolve(state, picture=picture, received=now, trends=trends, gone=None)
    if back:
        state = tell(attrs.evolve(state, transcript=None), "the broker is back", now)
    return settled(state, now)


def settled(state: State, now: float) -> State:
    """The selection and the question are among those that there are; a question that is there stays."""
    rows, asks = state.rows(), state.asks()
    if all(view["key"] != state.selected for view in rows):
        state = select(state, rows[0]["key"] if rows else None)
    if all(name_of(*one) != state.ask for one in asks):
        state = attrs.evolve(state, ask=name_of(*asks[0]) if asks else None, ask_since=now)
    return state


def select(state: State, key: str | None) -> State:
    if key == state.selected:
        return state
    return attrs.evolve(
        state, selected=key, transcript=None, last_words=None, scroll=0, extent=0, chosen=None
    )


def scrolled(state: State, lines: int, scroll: int) -> State:
    """A frame was drawn, with the pane, or the help, so long and scrolled so far."""
    if state.mode is Mode.HELP:
        return state if state.help_at == scroll else attrs.evolve(state, help_at=scroll)
    if not state.scroll or (state.extent, state.scroll) == (lines, scroll):
        return state
    return attrs.evolve(state, scroll=scroll, extent=lines if scroll else 0)


def lost(state: State, why: str, now: float) -> State:
    """There is no broker, or none any more; what was seen last stays on the screen."""
    return attrs.evolve(state, gone=(state.gone[0] if state.gone else now, why))


def tell(state: State, text: str, now: float, *, mishap: bool = False) -> State:
    """Say something in the last line, for a while."""
    return attrs.evolve(state, notice=(text, now + (2 * NOTICE if mishap else NOTICE), mishap))


def read(state: State, key: str, events: list[Json], next: int) -> State:
    """A page of a session's log has come."""
    if key != state.selected:
        return state
    transcript = state.transcript if state.transcript is not None else Transcript(key)
    return attrs.evolve(state, transcript=transcript.fed(events, next))


def wanted(state: State) -> tuple[str, int] | None:
    """Which session's log is to be read on, and from which number; None when all of it is here."""
    view = state.view
    if view is None or state.gone is not None:
        return None
    transcript = state.transcript if state.transcript is not None else Transcript(view["key"])
    if transcript.next is not None and transcript.next > view["events"]:
        return None
    return (view["key"], transcript.since(view["events"])) if view["events"] else None


def expired(state: State, now: float) -> State:
    """Without what was to be said for a while only."""
    return attrs.evolve(state, notice=None) if state.notice and now >= state.notice[1] else state


def heard(state: State, key: str, stderr: str, rejected: list[str]) -> State:
    """An agent's last words have come."""
    words = (key, stderr, tuple(rejected))
    return state if state.last_words == words else attrs.evolve(state, last_words=words)
