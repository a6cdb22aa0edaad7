from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_broker.protocol import jsonrpc
from trio_broker.protocol.terminal_output import Output, content_of, output_text, with_content


def test_output_is_cut_from_its_beginning_between_two_characters() -> None:
    output = Output(5)
    output.add("aäöü".encode())
    assert (output.text, output.truncated) == ("öü", True)  # 4 bytes: a fifth would be half a character


def test_output_that_fits_exactly_is_not_truncated() -> None:
    output = Output(7)
    output.add("aäöü".encode())
    assert (output.text, output.truncated) == ("aäöü", False)


def test_half_a_character_waits_for_the_rest_of_it() -> None:
    output = Output(100)
    output.add("ä".encode()[:1])
    assert output.text == ""
    output.add("ä".encode()[1:])
    assert output.text == "ä"
    output.add("€".encode()[:2])
    output.add(b"", final=True)
    assert output.text == "ä\ufffd"


@given(st.lists(st.text() | st.binary(max_size=40)), st.integers(0, 40))
def test_output_is_the_end_of_all_that_came_within_the_limit(pieces: list[str | bytes], limit: int) -> None:
    data = [piece.encode("utf-8", "surrogatepass") if isinstance(piece, str) else piece for piece in pieces]
    output = Output(limit)
    for piece in data:
        output.add(piece)
    output.add(b"", final=True)
    whole = b"".join(data).decode("utf-8", "replace")
    kept = output.text.encode()
    assert whole.endswith(output.text) and len(kept) <= limit
    assert output.truncated == (len(whole.encode()) > limit)
    assert not output.truncated or limit - len(kept) < 4


def line_of(update: object, **more: object) -> bytes:
    params = jsonrpc.encode({"sessionId": "s", "update": update, **more})
    return jsonrpc.notification("session/update", params).rstrip(b"\n")


TERMINAL = {"type": "terminal", "terminalId": "t1"}
TEXT = {"type": "content", "content": {"type": "text", "text": "shown"}}
CALL: dict[str, Any] = {"sessionUpdate": "tool_call", "toolCallId": "c"}


def shown(id: str) -> str | None:
    return "shown" if id == "t1" else None


def test_a_terminal_becomes_text_and_the_rest_stays_byte_for_byte() -> None:
    others = [{"type": "diff", "path": "/x"}, {"type": "terminal", "terminalId": "t2"}, 7]
    line = line_of(CALL | {"content": [TERMINAL, *others], "_more": {"b": 1, "a": 1.50}}, _meta={"x": None})
    content = content_of(line, shown)
    assert content is not None and content.tool_call_id == "c" and content.terminals == {"t1"}
    changed = with_content(line, content.as_text(shown))
    wanted = CALL | {"content": [TEXT, *others], "_more": {"b": 1, "a": 1.50}}
    assert jsonrpc.decode(changed)["params"] == {"sessionId": "s", "update": wanted, "_meta": {"x": None}}


@pytest.mark.parametrize(
    "update",
    [
        None,
        [],
        {},
        CALL,
        CALL | {"content": None},
        CALL | {"content": {"type": "terminal", "terminalId": "t1"}},
        CALL | {"toolCallId": 7, "content": [TERMINAL]},
        CALL | {"sessionUpdate": "agent_message_chunk", "content": [TERMINAL]},
    ],
)
def test_what_is_no_content_of_a_tool_call_is_left_alone(update: object) -> None:
    assert content_of(line_of(update), shown) is None


def test_a_number_that_python_cannot_hold_is_left_alone() -> None:
    line = line_of(CALL | {"content": [TERMINAL], "_n": 0}).replace(b'"_n":0', b'"_n":1e999')
    assert content_of(line, shown) is None


@given(
    st.lists(
        st.sampled_from(
            [TERMINAL, {"type": "terminal"}, {"type": "terminal", "terminalId": 3}, None, [], "x"]
        )
    )
)
def test_items_of_any_shape_are_no_error(items: list[Any]) -> None:
    content = content_of(line_of(CALL | {"content": items}), shown)
    assert content is not None
    assert content.as_text(shown) == [TEXT if item == TERMINAL else item for item in items]


@pytest.mark.parametrize("output", ["", "one\ntwo", "``` a fence\n````", "# no heading"])
def test_an_output_is_fenced_so_that_it_is_shown_as_it_is(output: str) -> None:
    first, *rest, last = output_text("run", output).split("\n")
    assert first == last and set(first) == {"`"} and first not in output
    assert "\n".join(rest) == f"$ run\n{output}".rstrip("\n")


def test_of_a_long_output_the_end_is_shown() -> None:
    text = output_text("run", "a" * 100_000 + "end")
    assert len(text) < 10_000 and text.endswith("aend\n```")
