"""What is taken in as a block of updates is, line by line, just that: the two ways never differ."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trio_broker.errors import BadMessage
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.batch import UpdateBatchDecoder
from trio_broker.protocol.jsonrpc import Kind, lines_of

UPDATE = b'{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s","update":{"text":"%b"}}}'
GOOD = [
    UPDATE % b"hello",
    UPDATE % "☃".encode(),
    b' {"params" : {"update":{},"sessionId":"s"},"method":"session\\/update","jsonrpc":"2.0"} ',
]
ODD = [
    b"",
    b"   ",
    b"{}",
    b"npm warn",
    b"[]",
    b"null",
    UPDATE % b"cr" + b"\r",
    b"\r" + UPDATE % b"cr",
    b"\xef\xbb\xbf" + UPDATE % b"bom",
    UPDATE % b"\xff",
    UPDATE % b"\\ud800",
    UPDATE % b"a\x00b",
    UPDATE % b"two" + b" " + UPDATE % b"in one line",
    UPDATE.replace(b'"s"', b'"t"') % b"another's",
    UPDATE.replace(b'"2.0"', b'"1.0"') % b"",
    UPDATE.replace(b'{"jsonrpc"', b'{"id":1,"jsonrpc"') % b"a request",
    UPDATE.replace(b'{"jsonrpc"', b'{"id":null,"jsonrpc"') % b"a request too",
    UPDATE.replace(b'{"jsonrpc"', b'{"method":"x","jsonrpc"') % b"the last counts",
    UPDATE.replace(b'"params"', b'"method":"x","params"') % b"the last counts",
    UPDATE.replace(b'"update":', b'"sessionId":"t","update":') % b"the last counts",
    UPDATE.replace(b'"update":', b'"sessionId":7,"update":') % b"no string",
    b'{"jsonrpc":"2.0","method":"session/update","params":["s"]}',
    b'{"jsonrpc":"2.0","id":1,"result":{"stopReason":"end_turn"}}',
    b'{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s"',
    b'"update":{}}}',
    b"[" * 3000,
    UPDATE % b"" + b"x",
]


def is_update(line: bytes) -> bool:
    try:
        message = jsonrpc.parse_envelope(line)
    except BadMessage:
        return False
    return (
        message.kind is Kind.NOTIFICATION and message.method == "session/update" and message.session_id == "s"
    )


@given(st.lists(st.sampled_from(GOOD) | st.sampled_from(ODD), min_size=1, max_size=6))
def test_a_block_that_is_taken_whole_is_updates_line_by_line(lines: list[bytes]) -> None:
    block = b"\n".join(lines) + b"\n"
    count, _, _ = UpdateBatchDecoder("s").classify(block)
    if count:
        slowly = lines_of(block)
        assert all(map(is_update, slowly))
        assert count == len(slowly) == block.count(b"\n")
        assert b"\n".join(slowly) + b"\n" == block


@given(st.lists(st.sampled_from(GOOD), min_size=1, max_size=50))
def test_what_agents_really_write_is_taken_whole(lines: list[bytes]) -> None:
    assert UpdateBatchDecoder("s").classify(b"\n".join(lines) + b"\n")[0] == len(lines)


@given(st.integers(0, 5), st.sampled_from(ODD))
def test_one_odd_line_anywhere_has_the_block_looked_at_line_by_line(place: int, odd: bytes) -> None:
    lines = [UPDATE % b"good"] * 5
    lines.insert(place, odd)
    assert UpdateBatchDecoder("s").classify(b"\n".join(lines) + b"\n") == (0, False, False)


@given(st.text(), st.text())
def test_any_id_is_known_for_itself_and_no_other(ours: str, theirs: str) -> None:
    def block(id: str) -> bytes:
        return jsonrpc.notification("session/update", jsonrpc.encode({"sessionId": id, "update": {}}))

    assert UpdateBatchDecoder(ours).classify(block(ours)) == (1, False, True)
    assert UpdateBatchDecoder(ours).classify(block(theirs))[0] == (ours == theirs)


@given(st.lists(st.binary(max_size=9), max_size=20), st.integers(1, 40))
def test_cut_gives_the_bytes_of_all_lines_that_have_ended(chunks: list[bytes], size: int) -> None:
    whole = b"".join(chunks)
    splitter = jsonrpc.LineSplitter()
    blocks = [splitter.feed_block(whole[start : start + size]) for start in range(0, len(whole), size)]
    assert b"".join(blocks) == whole[: whole.rfind(b"\n") + 1]
    assert splitter.pending == len(whole) - whole.rfind(b"\n") - 1
    assert all(block.endswith(b"\n") for block in blocks if block)


PLAINLY = (
    b'{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s","update":{"sessionUpdate":"%b"}}}'
)
KINDS = [b"agent_message_chunk", b"tool_call", b"notice", b"usage_update", b"_of_an_extension", b""]


@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=6))
def test_a_block_is_plain_when_every_update_in_it_is(kinds: list[bytes]) -> None:
    block = b"".join(PLAINLY % kind + b"\n" for kind in kinds)
    assert UpdateBatchDecoder("s").classify(block) == (
        len(kinds),
        set(kinds) <= {b"agent_message_chunk", b"tool_call"},
        set(kinds) != {b"agent_message_chunk"},
    )


def test_a_kind_written_twice_or_with_escapes_is_not_taken_for_another() -> None:
    twice = PLAINLY % b'plan","sessionUpdate":"notice' + b"\n"
    escaped = PLAINLY % b"\\u0070lan" + b"\n"
    assert UpdateBatchDecoder("s").classify(twice) == (1, False, True)
    assert UpdateBatchDecoder("s").classify(escaped) == (1, True, False)


def test_a_tool_call_is_seen_however_its_kind_is_written() -> None:
    for kind in (b"tool_call", b"tool_c\\u0061ll_update", b'plan","sessionUpdate":"tool_call'):
        assert UpdateBatchDecoder("s").classify(PLAINLY % kind + b"\n") == (1, True, True)
