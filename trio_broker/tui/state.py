"""What the dashboard knows and where the person in front of it is: folded from pictures, pages, keys and mishaps.

Pure: a value in, a value out; `now` is the caller's clock, in seconds.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import attrs

from trio_broker.tui.editor import Editor
from trio_broker.tui.transcript import Transcript

Json = dict[str, Any]

SAMPLES = 8  # of a sparkline
SAMPLE = 2.0  # seconds between two of them
NOTICE = 6.0  # seconds a notice stays
LOOK = 0.4  # seconds a question must have been on the screen before a key answers it


class Mode(enum.Enum):
    TABLE = "table"
    FILTER = "filter"
    PROMPT = "prompt"
    NEW = "new"
    CONFIRM = "confirm"
    HELP = "help"


class Tab(enum.Enum):
    TRANSCRIPT = "transcript"
    QUEUE = "queue"
    LOG = "log"
    STDERR = "stderr"
    FACTS = "facts"


SORTS = ("opened", "key", "phase", "quiet", "turn", "updates", "tokens", "cpu", "memory")
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
    """A call to make to the broker; `done` is told when it has worked. `then`: another call after it."""

    method: str
    params: Json
    done: str = ""
    then: Call | None = None


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
    """`picture` is the last one, which came at `received`; `gone`: since when there is no broker, and why."""

    picture: Json | None = None
    received: float = 0.0
    gone: tuple[float, str] | None = None
    where: str = ""
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
    queue_at: int = 0
    editor: Editor = attrs.field(factory=Editor)
    history: tuple[str, ...] = ()
    form: tuple[str, ...] = ()
    pending: Pending | None = None
    notice: tuple[str, float, bool] | None = None  # text, until when, whether it is a mishap
    transcript: Transcript | None = None
    stderr: tuple[str, str] | None = None  # key, text
    ask: tuple[str, int] | None = None  # key and number of the question that keys answer
    ask_since: float = 0.0

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


def name_of(view: Json, ask: Json) -> tuple[str, int]:
    return view["key"], ask["askId"]


def _haystack(view: Json) -> str:
    return f"{view['key']} {view['agent']} {view['phase']} {view['cwd']} {view['title'] or ''}".lower()


def _rank(state: State, view: Json) -> Any:
    """Smaller is higher: the busiest, the longest, the largest first."""
    usage, use = view.get("usage") or {}, view.get("use") or {}
    trend = state.trends.get(view["key"])
    late = float("inf")
    ranks: dict[str, Any] = {
        "key": view["key"].lower(),
        "phase": URGENCY.index(view["phase"]) if view["phase"] in URGENCY else len(URGENCY),
        "quiet": late if view["heard_at"] is None else view["heard_at"],
        "turn": late if view["turn_since"] is None else view["turn_since"],
        "updates": -(trend.rate if trend else 0),
        "tokens": -(usage.get("used") or 0),
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
    if state.view is not None and state.queue_at >= len(state.view["queued"]):
        state = attrs.evolve(state, queue_at=max(0, len(state.view["queued"]) - 1))
    return state


def select(state: State, key: str | None) -> State:
    if key == state.selected:
        return state
    return attrs.evolve(state, selected=key, transcript=None, stderr=None, scroll=0, queue_at=0)


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


def heard(state: State, key: str, stderr: str) -> State:
    """An agent's last words on stderr have come."""
    return state if state.stderr == (key, stderr) else attrs.evolve(state, stderr=(key, stderr))
