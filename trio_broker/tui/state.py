"""The state of the dashboard: the broker's last snapshot, the selection, the mode, and what is typed.

The question that is shown is always one of the selected session (`State.current_request`). Keys answer it only in
`Mode.QUESTION`, while `State.focus` is there, and only once `question.focus` knows that it is on the screen.

Pure: each function takes a state and returns one. `now` is the caller's clock, in seconds.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from trio_broker.tui.input import Editor
from trio_broker.tui.question.model import Focus, Question, RequestKey, request_key
from trio_broker.tui.transcript import Transcript

Json = dict[str, Any]

SPARKLINE_SAMPLES = 8  # of a sparkline
SAMPLE_INTERVAL = 2.0  # seconds between two of them
NOTICE_SECONDS = 6.0  # seconds a notice stays
NO_BROKER = "there is no broker to tell that"
OBSERVES = "you only observe this session: press r to take part"


class Mode(enum.Enum):
    TABLE = "table"
    FILTER = "filter"
    PROMPT = "prompt"
    INTERRUPT = "interrupt"
    EDIT = "edit"
    NEW = "new"
    CONFIRM = "confirm"
    QUESTION = "question"
    HELP = "help"


class Tab(enum.Enum):
    TRANSCRIPT = "transcript"
    QUEUE = "queue"
    LOG = "log"
    STDERR = "stderr"
    FACTS = "facts"


SORT_COLUMNS = (
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
PHASES_BY_URGENCY = ("waiting", "dead", "cancelling", "working", "starting", "idle", "suspended", "closed")


@attrs.frozen
class Trend:
    """Updates a second of one session: `rate` now, and samples of it for a sparkline."""

    events: int
    at: float
    rate: float = 0.0
    samples: tuple[float, ...] = ()

    def updated(self, events: int, at: float) -> Trend:
        """The trend when the session has `events` at the broker's time `at`."""
        if at - self.at < SAMPLE_INTERVAL:
            return self
        rate = max(0, events - self.events) / (at - self.at)
        missed = min(SPARKLINE_SAMPLES, int((at - self.at) / SAMPLE_INTERVAL))
        return Trend(events, at, rate, (*self.samples, *[rate] * missed)[-SPARKLINE_SAMPLES:])


@attrs.frozen
class BrokerCall:
    """A call to the broker. `success_text` is shown when it has worked. `then` is the call that follows it.

    `on_result` and `on_error` return the state after its result, or after a refusal.
    """

    method: str
    params: Json
    success_text: str = ""
    then: BrokerCall | None = None
    on_result: Callable[[State, Json, float], State] | None = None
    on_error: Callable[[State, float], State] | None = None


class Command(enum.Enum):
    QUIT = "quit"
    SUSPEND = "suspend"
    REDRAW = "redraw"


Effect = BrokerCall | Command


@attrs.frozen
class Confirmation:
    """A question to the user, and the call that a yes makes."""

    text: str
    call: BrokerCall


@attrs.frozen
class State:
    """`snapshot`: the last one, received at `received_at`. `disconnected`: since when, and why.

    `roles`: the sessions that the dashboard is attached to, and in which role. `selected_prompt`: a queued prompt.
    `edited_prompt`: the queued prompt that the editor holds. `pane_lines`: the length of the pane when it was scrolled.
    `submitted_form`: the form of a new session, until that session exists.
    `agent_output`: key of a session, stderr of its agent, and the lines of its stdout that are not messages.
    `selected_request`: which request of the selected session is shown. `questions`: the open ones that were fetched.
    `fetch_error`: why one could not be. `answered`: requests that were answered here and that the snapshot still has.
    """

    snapshot: Json | None = None
    received_at: float = 0.0
    disconnected: tuple[float, str] | None = None
    cwd: str = "/"
    trends: Mapping[str, Trend] = attrs.field(factory=dict)
    selected: str | None = None
    sort: str = "opened"
    reverse: bool = False
    filter: str = ""
    mode: Mode = Mode.TABLE
    show_detail: bool = False
    tab: Tab = Tab.TRANSCRIPT
    scroll: int = 0
    pane_lines: int = 0
    help_scroll: int = 0
    selected_prompt: str | None = None
    editor: Editor = attrs.field(factory=Editor)
    history: tuple[str, ...] = ()
    form: tuple[str, ...] = ()
    submitted_form: tuple[str, ...] = ()
    confirmation: Confirmation | None = None
    notice: tuple[str, float, bool] | None = None  # text, until when, whether it is an error
    transcript: Transcript | None = None
    agent_output: tuple[str, str, tuple[str, ...]] | None = None
    selected_request: RequestKey | None = None
    focus: Focus | None = None  # in Mode.QUESTION
    questions: Mapping[RequestKey, Question] = attrs.field(factory=dict)
    fetch_error: tuple[RequestKey, str] | None = None
    answered: frozenset[RequestKey] = frozenset()
    roles: Mapping[str, str] = attrs.field(factory=dict)
    edited_prompt: str | None = None

    @property
    def sessions(self) -> list[Json]:
        return [] if self.snapshot is None else self.snapshot["sessions"]

    def broker_time(self, now: float) -> float:
        """The broker's time now; it stands still while there is no broker."""
        at = 0.0 if self.snapshot is None else float(self.snapshot["at"])
        return at + (self.disconnected[0] if self.disconnected else now) - self.received_at

    @property
    def session(self) -> Json | None:
        """The selected session."""
        return next((session for session in self.sessions if session["key"] == self.selected), None)

    @property
    def queue_index(self) -> int:
        """The place of the selected prompt in the selected session's queue; the first, if it is not there any more."""
        queued = [] if self.session is None else self.session["queued"]
        return next((at for at, turn in enumerate(queued) if turn["promptId"] == self.selected_prompt), 0)

    def requests(self) -> list[tuple[Json, Json]]:
        """Every open request of an agent, with its session, the longest waiting first."""
        found = [
            (session, request)
            for session in self.sessions
            for request in session["asks"]
            if request_key(session, request) not in self.answered
        ]
        return sorted(found, key=lambda one: float(one[1]["since"] or 0))

    def current_request(self) -> tuple[Json, Json] | None:
        """The request that is shown, with its session: the selected one, and None if its session is not selected."""
        found = next((one for one in self.requests() if request_key(*one) == self.selected_request), None)
        return found if found is not None and found[0]["key"] == self.selected else None

    def question(self) -> Question | None:
        """The current request in full; None while it has not been fetched."""
        if self.selected_request is None or self.current_request() is None:
            return None
        return self.questions.get(self.selected_request)

    def visible_sessions(self) -> list[Json]:
        """The sessions as the table has them: filtered and sorted."""
        words = self.filter.lower().split()
        found = (
            [session for session in self.sessions if all(word in _search_text(session) for word in words)]
            if words
            else self.sessions
        )
        if self.sort == "opened":
            return found[::-1] if self.reverse else list(found)
        return sorted(found, key=lambda session: _sort_key(self, session), reverse=self.reverse)


def cost_amount(usage: Json) -> float:
    """What an agent says that it has cost, 0 where it does not say."""
    cost = usage.get("cost")
    return finite_number(cost.get("amount")) if isinstance(cost, dict) else 0.0


def finite_number(value: object) -> float:
    """A number that an agent gave, 0 where it gave something else."""
    try:
        number = float(value) if isinstance(value, int | float) else 0.0
    except OverflowError:
        return 0.0
    return number if math.isfinite(number) else 0.0


def _search_text(session: Json) -> str:
    return f"{session['key']} {session['agent']} {session['phase']} {session['cwd']} {session['title'] or ''}".lower()


def _sort_key(state: State, session: Json) -> Any:
    """Smaller is higher: the busiest, the longest, the largest first."""
    usage, use = session.get("usage") or {}, session.get("use") or {}
    trend = state.trends.get(session["key"])
    late = float("inf")
    ranks: dict[str, Any] = {
        "key": session["key"].lower(),
        "agent": str(session["agent"]).lower(),
        "queue": -session["queue"],
        "cost": -cost_amount(usage),
        "phase": PHASES_BY_URGENCY.index(session["phase"])
        if session["phase"] in PHASES_BY_URGENCY
        else len(PHASES_BY_URGENCY),
        "quiet": late if session["heard_at"] is None else session["heard_at"],
        "turn": late if session["turn_since"] is None else session["turn_since"],
        "updates": -(trend.rate if trend else 0),
        "tokens": -finite_number(usage.get("used")),
        "cpu": -(use.get("cpu") or 0),
        "memory": -(use.get("memory") or 0),
    }
    return ranks[state.sort], session["key"]


def apply_snapshot(state: State, snapshot: Json, now: float) -> State:
    """The state after a snapshot was received."""
    trends = {}
    for session in snapshot["sessions"]:
        last = state.trends.get(session["key"])
        events, at = session["events"], snapshot["at"]
        fresh = last is None or events < last.events or at < last.at
        trends[session["key"]] = Trend(events, at) if fresh or last is None else last.updated(events, at)
    is_back = state.disconnected is not None and state.snapshot is not None
    state = attrs.evolve(state, snapshot=snapshot, received_at=now, trends=trends, disconnected=None)
    if is_back:
        state = attrs.evolve(state, transcript=None, questions={}, answered=frozenset())
        state = show_notice(state, "the broker is back", now)
    return update_selection(_forget_closed_requests(state), now)


def _forget_closed_requests(state: State) -> State:
    if not (state.questions or state.answered):
        return state
    is_open = {request_key(session, request) for session in state.sessions for request in session["asks"]}
    questions = {key: question for key, question in state.questions.items() if key in is_open}
    return attrs.evolve(state, questions=questions, answered=state.answered & is_open)


def update_selection(state: State, now: float) -> State:
    """Select another session or request if the selected one is gone. A question that is gone loses the focus.

    The session of a question with the focus stays selected, also when the filter hides it by now.
    """
    request = state.current_request()
    if state.mode is Mode.QUESTION:
        if request is not None:
            return state
        text = f"{state.selected}: its question is settled" if state.session else "that session is gone"
        text += _unsent_form(state)
        state = show_notice(leave_question(state), text, now)
    sessions = state.visible_sessions()
    if all(session["key"] != state.selected for session in sessions):
        state = select_session(state, sessions[0]["key"] if sessions else None)
    return state if state.current_request() is not None else select_request(state)


def _unsent_form(state: State) -> str:
    return "; the form was not sent" if state.focus is not None and state.focus.form is not None else ""


def select_session(state: State, key: str | None) -> State:
    """Select a session, and show its question if it has one."""
    if key == state.selected:
        return state
    state = attrs.evolve(
        state, selected=key, transcript=None, agent_output=None, scroll=0, pane_lines=0, selected_prompt=None
    )
    return select_request(state)


def select_request(state: State) -> State:
    """Show the question of the selected session that has waited longest; no question has the focus."""
    keys = [request_key(*one) for one in state.requests()]
    request = next((key for key in keys if key[0] == state.selected), None)
    state = leave_question(state) if state.mode is Mode.QUESTION else state
    return state if request == state.selected_request else attrs.evolve(state, selected_request=request)


def leave_question(state: State) -> State:
    """At the table again: keys answer nothing."""
    return attrs.evolve(state, mode=Mode.TABLE, focus=None)


def apply_scroll(state: State, lines: int, scroll: int) -> State:
    """A frame was drawn, with the pane, or the help, so long and scrolled so far."""
    if state.mode is Mode.HELP:
        return state if state.help_scroll == scroll else attrs.evolve(state, help_scroll=scroll)
    if not state.scroll or (state.pane_lines, state.scroll) == (lines, scroll):
        return state
    return attrs.evolve(state, scroll=scroll, pane_lines=lines if scroll else 0)


def mark_disconnected(state: State, why: str, now: float) -> State:
    """There is no broker, or none any more; what was seen last stays on the screen, and is not answered."""
    if unsent := _unsent_form(state):
        state = show_notice(state, f"the broker is gone{unsent}", now, error=True)
    state = leave_question(state) if state.mode is Mode.QUESTION else state
    return attrs.evolve(state, disconnected=(state.disconnected[0] if state.disconnected else now, why))


def show_notice(state: State, text: str, now: float, *, error: bool = False) -> State:
    """Say something in the last line, for a while."""
    return attrs.evolve(state, notice=(text, now + (2 * NOTICE_SECONDS if error else NOTICE_SECONDS), error))


def apply_page(state: State, key: str, events: list[Json], next_seq: int) -> State:
    """A page of a session's log has come."""
    if key != state.selected:
        return state
    transcript = state.transcript if state.transcript is not None else Transcript(key)
    return attrs.evolve(state, transcript=transcript.with_events(events, next_seq))


def next_page(state: State) -> tuple[str, int] | None:
    """Which session's log is to be read on, and from which number; None when all of it is here."""
    session = state.session
    if session is None or state.disconnected is not None:
        return None
    transcript = state.transcript if state.transcript is not None else Transcript(session["key"])
    if transcript.next_seq is not None and transcript.next_seq > session["events"]:
        return None
    return (session["key"], transcript.read_from(session["events"])) if session["events"] else None


def expire_notice(state: State, now: float) -> State:
    """Without what was to be said for a while only."""
    return attrs.evolve(state, notice=None) if state.notice and now >= state.notice[1] else state


def apply_agent_output(state: State, key: str, stderr: str, rejected: list[str]) -> State:
    """An agent's last words have come."""
    words = (key, stderr, tuple(rejected))
    return state if state.agent_output == words else attrs.evolve(state, agent_output=words)
