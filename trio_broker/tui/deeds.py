"""What keys do to the sessions: a state in, a state and the calls to be made out. Whatever is dangerous asks first."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import attrs

from trio_broker.protocol.extensions import OURS
from trio_broker.tui.editor import Editor
from trio_broker.tui.state import (
    LOOK,
    Call,
    Effect,
    Json,
    Mode,
    Pending,
    State,
    Tab,
    answers,
    name_of,
    select,
    tell,
)
from trio_broker.tui.text import ago, visible

Done = tuple[State, list[Effect]]
ROLES = ("", "observer", "controller")
TOLD = {
    "": "{}: left to itself",
    "observer": "{}: you observe, your keys do nothing to it",
    "controller": "{}: you take part, it asks you and is not suspended",
}


def ask_first(state: State, text: str, call: Call) -> Done:
    return attrs.evolve(state, mode=Mode.CONFIRM, pending=Pending(text, call)), []


def observed(state: State, now: float) -> State | None:
    """What a key that acts on the selected session comes to where there is none, or it is only observed."""
    if state.view is None:
        return tell(state, "there is no session: press n for a new one", now)
    if state.roles.get(state.view["key"]) == "observer":
        return tell(state, "you only observe this session: press r to take part", now, mishap=True)
    return None


# Questions


def next_question(state: State, now: float) -> Done:
    asks = [name_of(*one) for one in state.asks()]
    if not asks:
        return tell(state, "nobody asks anything", now), []
    place = asks.index(state.ask) if state.ask in asks else -1
    ask = asks[(place + 1) % len(asks)]
    return select(attrs.evolve(state, ask=ask, ask_since=now), ask[0]), []


def answer(state: State, number: int, now: float) -> Done:
    """Answer the question on top; one that has only just come there is not answered by mistake."""
    asked = state.asked()
    if asked is None:
        return tell(state, "nobody asks anything", now), []
    view, ask = asked
    offered = answers(ask)
    if not 1 <= number <= len(offered):
        return tell(state, f"{number} is none of its answers", now, mishap=True), []
    if now - state.ask_since < LOOK:
        return tell(state, "this question has only just come: look at it, and press the key again", now), []
    chosen = offered[number - 1]
    done = f"{visible(view['key'])}: {visible(chosen.name)}"
    return state, [Call(f"{OURS}answer", {"askId": ask["askId"], **chosen.params}, done)]


# The session


def cancel(state: State, now: float) -> Done:
    if (instead := observed(state, now)) is not None:
        return instead, []
    view = _view(state)
    if view["turn_since"] is None:
        return tell(state, "no turn runs in this session", now), []
    key, runs = view["key"], ago(state.clock(now) - view["turn_since"])
    call = Call(f"{OURS}cancel", {"key": key, "promptId": view["turn_id"]}, gives=_cancelled)
    return ask_first(state, f"cancel the turn of {key}, which has run for {runs}?", call)


def _cancelled(state: State, result: Json, now: float) -> State:
    ended = result.get("cancelled") == "nothing"
    return tell(state, "that turn has ended already" if ended else "its agent is told to cancel", now)


def ending(method: str, text: str, done: str) -> Callable[[State, float], Done]:
    """Kill or close: asked first."""

    def end(state: State, now: float) -> Done:
        if (instead := observed(state, now)) is not None:
            return instead, []
        key = _view(state)["key"]
        return ask_first(
            state, text.format(key), Call(f"{OURS}{method}", {"key": key}, f"{visible(key)}: {done}")
        )

    return end


def restart(state: State, now: float) -> Done:
    if (instead := observed(state, now)) is not None:
        return instead, []
    key = _view(state)["key"]
    text = f"restart the agent of {key}? A turn that runs fails; what is queued runs after it."
    return ask_first(state, text, Call(f"{OURS}restart", {"key": key}, gives=_restarted))


HOW = {
    "exact": "the conversation goes on where it was",
    "loaded": "the conversation was loaded again",
    "new": "the agent does not remember the conversation",
}


def _restarted(state: State, result: Json, now: float) -> State:
    how = HOW.get(str(result.get("resumed")), "")
    return tell(
        state, f"{visible(result['key'])}: restarted, pid {result['pid']}{'; ' if how else ''}{how}", now
    )


def next_role(state: State, now: float) -> Done:
    """From hearing nothing of the selected session to observing it, to taking part in it, and back."""
    view = state.view
    if view is None:
        return state, []
    key = view["key"]
    role = ROLES[(ROLES.index(state.roles.get(key, "")) + 1) % len(ROLES)]
    return state, [attach(key, role)]


def attach(key: str, role: str) -> Call:
    """Be attached to a session in that role; "" is not at all."""
    params = {"key": key, "role": role} if role else {"key": key}
    return Call(f"{OURS}{'attach' if role else 'detach'}", params, gives=partial(_attached, key, role))


def _attached(key: str, role: str, state: State, result: Json, now: float) -> State:
    roles = {name: one for name, one in state.roles.items() if name != key} | ({key: role} if role else {})
    return tell(attrs.evolve(state, roles=roles), TOLD[role].format(visible(key)), now)


# Its queue


def _queued(state: State, now: float) -> State | tuple[Json, Json]:
    """The queued prompt that is chosen, with its session; where none is, a state that says so."""
    if (instead := observed(state, now)) is not None:
        return instead
    view = _view(state)
    if state.tab is not Tab.QUEUE or not view["queued"]:
        return tell(state, "choose a queued prompt first: Tab to the queue", now)
    return view, view["queued"][state.queue_at]


def drop(state: State, now: float) -> Done:
    chosen = _queued(state, now)
    if isinstance(chosen, State):
        return chosen, []
    view, turn = chosen
    # Not by cancel: that would hit the prompt when it has begun to run by the time of the yes.
    params = {"key": view["key"], "promptId": turn["promptId"], "remove": True}
    call = Call(f"{OURS}queue_edit", params, "dropped from the queue")
    return ask_first(state, f"drop “{turn['text'][:60]}” from the queue?", call)


def move(steps: int) -> Callable[[State, float], Done]:
    """Have the chosen prompt run so many places later."""

    def move_it(state: State, now: float) -> Done:
        chosen = _queued(state, now)
        if isinstance(chosen, State):
            return chosen, []
        view, turn = chosen
        place = state.queue_at + steps
        if not 0 <= place < len(view["queued"]):
            return tell(state, "it is the last" if steps > 0 else "it is the next to run", now), []
        params = {"key": view["key"], "promptId": turn["promptId"], "position": place + 1}
        return attrs.evolve(state, chosen=turn["promptId"]), [Call(f"{OURS}queue_edit", params)]

    return move_it


def edit(state: State, now: float) -> Done:
    """Ask for the whole of the chosen prompt: the picture has only its beginning."""
    chosen = _queued(state, now)
    if isinstance(chosen, State):
        return chosen, []
    view, turn = chosen
    params = {"key": view["key"], "promptId": turn["promptId"]}
    return state, [Call(f"{OURS}queue", params, gives=partial(_edits, view["key"]))]


def _edits(key: str, state: State, turn: Json, now: float) -> State:
    if state.selected != key or state.mode is not Mode.TABLE:
        return state  # the person is elsewhere by now
    blocks = turn["prompt"]
    if any(block.get("type") != "text" for block in blocks):
        return tell(state, "it has more than text in it: drop it, and prompt anew", now, mishap=True)
    text = "\n".join(str(block["text"]) for block in blocks)
    return attrs.evolve(state, mode=Mode.EDIT, editing=turn["promptId"], editor=Editor.of(text), notice=None)


def _view(state: State) -> dict[str, Any]:
    assert state.view is not None, "observed() has said that there is one"
    return state.view
