"""The question in lines: what would be done and the choices, at every size, with hostile text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tests.tui.conftest import load_questions, make_request, make_session, make_snapshot
from trio_broker.tui.question.panel import render_questions
from trio_broker.tui.screen import Screen, render_screen, render_snapshot
from trio_broker.tui.state import Mode, State, apply_snapshot, select_session

Json = dict[str, Any]
Make = Callable[..., Json]
Check = Callable[..., None]
Press = Callable[..., tuple[State, list[Any]]]
Change = Callable[..., State]
ScreenText = Callable[[Screen], str]
HOSTILE = "\x1b[2J\x1b]0;owned\x07 \u202egnp.exe\r\nrm -rf"
OLD = 'def greet(name):\n    print("Hello " + name)\n'
NEW = 'def greet(name: str) -> None:\n    print(f"Hello {name}!")\n'
FORGED = f"  y  1  Reject  reject once\n┗━\n  n  2  Allow\r\x1b[1A\x1b[K\u200b\u202e{'x' * 200}\n\x1b[1;1H"


def test_a_question(
    three: list[Json], agent_request: Make, session: Make, snapshot: Make, diff: Make, press: Press, load: Change,
    check: Check,
) -> None:  # fmt: skip
    one = session(
        "repo/api",
        phase="waiting",
        turn_since=20.0,
        asks=[agent_request("1-7", "Apply the change to greet.py", 88.0)],
    )
    two = session(
        "repo/web", phase="waiting", asks=[agent_request("2-3", "Run `rm -rf build`" + HOSTILE, 95.0)]
    )
    state = apply_snapshot(State(), snapshot(one, two, *three[1:]), 100.0)
    loaded = load(
        state, toolCall=diff("greet.py", OLD, NEW), reason="policy rule 2 cannot tell: the call names no kind"
    )
    check("ask", loaded)
    check("ask-focus", press(loaded, "a")[0], sizes=((80, 24), (140, 40), (40, 10)))
    check("ask-full", press(loaded, "v")[0])
    check("ask-loading", press(state, "a")[0])
    check("ask-elsewhere", select_session(loaded, "repo/docs"))
    check("ask-always", press(state_drawn(press(loaded, "a")[0]), "A", now=200.0)[0])


def state_drawn(state: State) -> State:
    assert state.focus is not None
    return attrs.evolve(state, focus=attrs.evolve(state.focus, drawn=state.question(), drawn_at=100.0))


def test_a_hostile_question_fakes_neither_the_frame_nor_a_choice(
    three: list[Json], agent_request: Make, session: Make, snapshot: Make, diff: Make, press: Press, load: Change,
    check: Check, screen_text: ScreenText,
) -> None:  # fmt: skip
    options = [
        {"optionId": "1", "name": f"Reject{FORGED}", "kind": "allow_once"},
        {"optionId": "2", "name": "  n  2  No, never", "kind": "allow_always"},
        {"optionId": "3", "name": "", "kind": "reject_once"},
    ]
    ask = agent_request("1-7", FORGED, 88.0) | {"options": options}
    state = apply_snapshot(
        State(), snapshot(session("repo/api", phase="waiting", asks=[ask]), *three[1:]), 100.0
    )
    call = diff(f"greet.py{FORGED}", OLD, FORGED + NEW, rawInput={"command": f"ls{FORGED}", "why": FORGED})
    state = load(state, toolCall=call, reason=FORGED)
    check("ask-hostile", press(state, "a")[0])
    for width, height in ((80, 24), (140, 40), (40, 10)):
        for keys in (("a",), ("v",), ("v", "end"), ("a", "pagedown")):
            shown = screen_text(render_screen(press(state, *keys)[0], 100.0, width, height)).splitlines()
            (start,) = [at for at, line in enumerate(shown) if line.startswith("▲")]
            (end,) = [at for at, line in enumerate(shown) if line.startswith("┗━")]
            assert all(line.startswith("┃") for line in shown[start + 1 : end]), (
                "what the agent wrote is framed"
            )
            choices = ("  y  1  allow once   ", "  A  2  allow always ", "  n  3  reject once")
            for line, begins in zip(shown[end + 1 : end + 4], choices, strict=True):
                assert line.startswith(begins)
            assert sum(line.startswith(choices) for line in shown) == 3


def test_a_long_command_is_seen_to_its_end(
    agent_request: Make, session: Make, snapshot: Make, press: Press, load: Change, screen_text: ScreenText
) -> None:
    command = "echo " + "a" * 150 + " ; rm -rf ~ # end"
    state = apply_snapshot(State(), snapshot(session("api", asks=[agent_request("1-7", "Echo", 1.0)])), 100.0)
    state, _ = press(load(state, toolCall={"rawInput": {"command": command}}), "a")
    for width in (40, 80, 140):
        rows = [
            line
            for line in screen_text(render_screen(state, 100.0, width, 24)).splitlines()
            if line[:1] == "┃"
        ]
        told = "".join(line[2:] if not line[2:].startswith("… ") else line[4:] for line in rows)
        assert command in told


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (60, 15), (40, 10), (40, 8)])
def test_the_diff_and_the_choices_are_there_at_every_size(
    width: int, height: int, agent_request: Make, session: Make, snapshot: Make, diff: Make, press: Press,
    load: Change, draw: Change, screen_text: ScreenText,
) -> None:  # fmt: skip
    many = [session(f"s{number}") for number in range(30)]
    api = session("api", phase="waiting", asks=[agent_request("1-7", "Change it", 1.0)])
    state = load(apply_snapshot(State(), snapshot(api, *many), 100.0), toolCall=diff("greet.py", OLD, NEW))
    state = draw(press(state, "a")[0], 100.0, width, height)
    shown = screen_text(render_screen(state, 100.0, width, height))
    assert "y  1  allow once     Apply the change" in shown and "n  3  reject once    Leave the" in shown
    assert len(press(state, "y", now=200.0)[1]) == 1
    seen = shown
    for _ in range(30):
        state = draw(press(state, "j")[0], 100.0, width, height)
        seen += screen_text(render_screen(state, 100.0, width, height))
    for line in ("kind: edit", "diff: greet.py", "-def greet(name):", "+def greet(name: str)"):
        assert line in seen
    if height >= 15:
        assert "-def greet(name):" in shown and "+def greet(name: str)" in shown


def test_a_session_that_asks_nothing_shows_who_does(
    agent_request: Make, session: Make, snapshot: Make, load: Change
) -> None:
    asking = [
        session(f"s{number}", asks=[agent_request(f"{number}-1", f"Do {number}", float(number))])
        for number in range(5)
    ]
    state = load(apply_snapshot(State(), snapshot(session("quiet"), *asking), 100.0))

    def lines(state: State, height: int) -> list[str]:
        return ["".join(part.text for part in line) for line in render_questions(state, 100.0, 80, height)[0]]

    shown = lines(state, 12)
    assert [line[2:4] for line in shown] == ["s0", "s1", "s2"]
    assert "a shows it" in shown[0] and "+2 more" in shown[0] and "Apply" not in "".join(shown)
    shown = lines(select_session(state, "s3"), 12)
    assert shown[0].startswith("▲ s3") and "+2 more" in shown[0]
    assert shown[-3].startswith("  a answers it: Apply the change / ") and shown[-2].startswith("▲ s0")
    assert lines(state, 1) == [], "no room: none is drawn by half"
    assert "trio-broker pending" in "".join(
        part.text for line in render_snapshot(state, 100.0, 80).lines for part in line
    )


def test_a_question_that_no_key_answers_says_who_can(
    session: Make, agent_request: Make, snapshot: Make, press: Press, load: Change, screen_text: ScreenText
) -> None:
    form = agent_request("1-7", "Your name?", 88.0)
    form |= {"method": "elicitation/create", "mode": "form", "options": []}
    other = agent_request("1-7", "?", 88.0) | {"method": "_x/choose", "options": []}
    for one, says in (
        (form, "n  1  reject once    Decline"),
        (other, "answer it with a client that can: _x/choose"),
    ):
        state = apply_snapshot(State(), snapshot(session("repo/api", phase="waiting", asks=[one])), 100.0)
        assert says in screen_text(render_screen(press(load(state), "a")[0], 100.0, 140, 40))


def test_choices_that_are_long_or_many_are_not_lost(
    session: Make, agent_request: Make, snapshot: Make, press: Press, load: Change, screen_text: ScreenText
) -> None:
    names = ["Allow " + "all of it, " * 20 + "and more", *(f"Number {n}" for n in range(2, 12))]
    options = [{"optionId": name, "name": name, "kind": "allow_once"} for name in names]
    ask = agent_request("1-7", "Do it", 88.0) | {"options": options}
    state = apply_snapshot(State(), snapshot(session("api", phase="waiting", asks=[ask])), 100.0)
    shown = screen_text(render_screen(press(load(state), "a")[0], 100.0, 80, 24))
    assert "all of choice 1: Allow all of it" in shown and "all of it, and more" in shown.replace(
        "\n┃ … ", ""
    )
    assert " 9  allow once     Number 9" in shown and "2 more: `trio-broker allow 1-7`" in shown


def test_an_elicitation_shows_its_url_and_fields(
    session: Make, agent_request: Make, snapshot: Make, press: Press, load: Change, screen_text: ScreenText
) -> None:
    ask = agent_request("1-7", "Log in", 88.0) | {
        "method": "elicitation/create",
        "mode": "url",
        "options": [],
    }
    state = apply_snapshot(State(), snapshot(session("api", phase="waiting", asks=[ask])), 100.0)
    url = {"mode": "url", "message": "Log in", "url": "https://user@evil.example/login"}
    shown = screen_text(render_screen(press(load(state, elicitation=url), "a")[0], 100.0, 80, 24))
    assert "https://user@evil.example/login" in shown and "evil.example" in shown.replace(
        "user@evil.example", ""
    )
    assert "y  1  allow once     Accept" in shown and "n  2  reject once    Decline" in shown
    schema = {"type": "object", "properties": {"name": {"type": "string", "title": "Your name"}}}
    form = {"mode": "form", "message": "Who?", "requestedSchema": schema}
    shown = screen_text(render_screen(press(load(state, elicitation=form), "a")[0], 100.0, 80, 24))
    assert (
        "name" in shown
        and "Your name" in shown
        and "y  1  allow once     Fill in …" in shown
        and "n  2  reject once    Decline" in shown
        and "Accept" not in shown
    )


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
PART = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("type", "content", "path", "oldText", "newText", "terminalId"), ANY | st.just("diff")
    ),
)
CALL = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("toolCallId", "title", "kind", "status", "locations", "rawInput", "other"), ANY),
        "content": st.lists(PART | ANY, max_size=3) | ANY,
    },
)
OPTION = st.fixed_dictionaries({}, optional=dict.fromkeys(("optionId", "name", "kind"), ANY)) | ANY


@given(CALL | ANY, ANY, ANY, st.lists(OPTION, max_size=12), st.integers(40, 120), st.integers(8, 40))
def test_whatever_an_agent_asks_is_drawn_and_fills_the_window(
    call: Any, reason: Any, title: Any, options: list[Any], width: int, height: int
) -> None:
    ask = make_request("1-1", "?", 1.0) | {"title": title, "options": options}
    state = apply_snapshot(State(), make_snapshot(make_session("a", asks=[ask])), 100.0)
    state = load_questions(state, toolCall=call, reason=reason)
    for one in (state, attrs.evolve(state, mode=Mode.PROMPT)):
        fills(render_screen(one, 100.0, width, height), width, height)
    for key in ("a", "v"):
        focused = render_focus(state, key)
        shown = render_screen(focused, 100.0, width, height)
        fills(shown, width, height)
        assert shown.question is not None
        count = len([option for option in options if isinstance(option, dict)][:9])
        seen = sum(
            line_text(line).startswith(("     ", "  y  ", "  A  ", "  n  ", "  D  ")) for line in shown.lines
        )
        assert not shown.question.answerable or not count or seen


def render_focus(state: State, key: str) -> State:
    from trio_broker.tui.input import Key
    from trio_broker.tui.keymap import handle_key

    return handle_key(state, Key(key, key), 100.0)[0]


def line_text(line: Any) -> str:
    return "".join(part.text for part in line)


def fills(shown: Screen, width: int, height: int) -> None:
    assert len(shown.lines) == height
    assert {sum(cell_len(part.text) for part in line) for line in shown.lines} == {width}
