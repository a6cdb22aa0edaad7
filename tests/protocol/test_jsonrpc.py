from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_broker.errors import BadMessage
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.jsonrpc import (
    BOM,
    INVALID_PARAMS,
    INVALID_REQUEST,
    MAX_LINE,
    PARSE_ERROR,
    Kind,
    LineSplitter,
    LineTooLong,
    decode,
    encode,
    id_key,
    members,
    parse_envelope,
    replace_members,
)

DEEP = 1_000_000  # deeper than any Python goes
MANY_DIGITS = b"9" * 5000  # more than Python makes an int of


def nested(depth: int, core: bytes = b"1") -> bytes:
    return b"[" * depth + core + b"]" * depth


@functools.cache
def deepest() -> int:
    """How deeply nested JSON may be to be parsed; from Python 3.12 on this is not sys.getrecursionlimit()."""
    fits, fails = 1, DEEP
    while fails - fits > 1:
        depth = (fits + fails) // 2
        try:
            msgspec.json.decode(nested(depth))
        except RecursionError:
            fails = depth
        else:
            fits = depth
    return fits


def as_decoded(text: str) -> str:
    """Two halves of a surrogate pair that stand side by side are one character once they have been on the wire."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def values(text: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    return st.recursive(
        st.none() | st.booleans() | numbers | text,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
        max_leaves=10,
    )


whole = st.text(max_size=8)
broken = st.text(st.characters() | st.sampled_from("\ud83d\ude00\udfff\u2028"), max_size=8).map(as_decoded)
spelled: st.SearchStrategy[bytes] = st.builds(
    lambda value, ascii, comma, colon: json.dumps(
        value, ensure_ascii=ascii, separators=(comma, colon)
    ).encode(),
    values(whole),
    st.booleans(),
    st.sampled_from([",", " , ", ",\t"]),
    st.sampled_from([":", " : ", ":\r"]),
)

syntax = [
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b'"',
    b"\\",
    b"\\ud",
    b" ",
    b"\n",
    BOM,
    b"\xff",
    b"\xed\xa0\x80",
]
scalars = [
    b"1",
    b"-1",
    b"1.0",
    b"1e999",
    MANY_DIGITS,
    b"NaN",
    b"true",
    b"null",
    b'""',
    b'"\\ud800"',
    b'"\\uDc00"',
]
names = [
    b'"id"',
    b'"method"',
    b'"params"',
    b'"sessionId"',
    b'{"id":',
    b'"method":"m"',
    b'"params":{',
    b'"result":',
]
tokens = st.sampled_from(syntax + scalars + names)
envelopes = st.dictionaries(
    st.sampled_from(["jsonrpc", "id", "method", "params", "result", "error"]),
    values(broken) | st.dictionaries(st.just("sessionId") | broken, values(broken), max_size=3),
).map(encode)
anything = st.binary() | st.lists(tokens, max_size=12).map(b"".join) | envelopes | spelled


def plain_lines(data: bytes) -> list[bytes]:
    lines = [line.removesuffix(b"\r").removeprefix(BOM) for line in data.split(b"\n")[:-1]]
    return [line for line in lines if line.strip()]


pieces = st.sampled_from([b"\n", b"\r", b"\r\n", BOM, BOM[:1], b" ", b"{}", "\u2028".encode()]) | st.binary()
streams = st.lists(pieces, max_size=20)


class TestLineSplitter:
    @given(streams)
    def test_any_chunking_gives_the_same_lines(self, chunks: list[bytes]) -> None:
        splitter = LineSplitter()
        data = b"".join(chunks)
        assert [line for chunk in chunks for line in splitter.feed(chunk)] == plain_lines(data)
        assert splitter.pending == len(data.split(b"\n")[-1])
        assert LineSplitter().feed(data) == plain_lines(data)

    @given(streams, st.integers(0, 8))
    def test_any_chunking_meets_the_limit_races_c15(self, chunks: list[bytes], limit: int) -> None:
        splitter = LineSplitter(limit)
        too_long = any(len(line) > limit for line in b"".join(chunks).split(b"\n"))
        try:
            for chunk in chunks:
                splitter.feed(chunk)
        except LineTooLong as error:
            assert too_long and error.details == {"limit": limit}
        else:
            assert not too_long

    @pytest.mark.parametrize(
        ("data", "lines"),
        [
            (b"", []),
            (b"{}", []),
            (b"{}\n", [b"{}"]),
            (b"{}\n[]\n1", [b"{}", b"[]"]),
            (b"{}\r\n", [b"{}"]),
            (b"{}\r\r\n", [b"{}\r"]),
            (b"{\r}\n", [b"{\r}"]),
            (b"{}\r", []),
            (BOM + b"{}\n" + BOM + b"[]\r\n", [b"{}", b"[]"]),
            (b"{}" + BOM + b"\n", [b"{}" + BOM]),
            (b"\n\r\n \n\t\r\n" + BOM + b"\n{}\n\n", [b"{}"]),
            ('"\u2028\u2029\x85\x0b\x0c"\n'.encode(), ['"\u2028\u2029\x85\x0b\x0c"'.encode()]),
            (b"\xff\xfe\n{}\n", [b"\xff\xfe", b"{}"]),
        ],
    )
    def test_lines(self, data: bytes, lines: list[bytes]) -> None:
        assert LineSplitter().feed(data) == lines
        one_by_one = LineSplitter()
        assert [line for byte in data for line in one_by_one.feed(bytes([byte]))] == lines

    def test_a_line_may_be_as_long_as_the_limit_and_no_longer_races_c15(self) -> None:
        splitter = LineSplitter(4)
        assert splitter.feed(b"1234\n123") == [b"1234"]
        assert splitter.feed(b"4") == []
        assert splitter.pending == 4
        with pytest.raises(LineTooLong, match="more than 4 bytes") as caught:
            splitter.feed(b"5")
        assert caught.value.data() == {"kind": "line_too_long", "limit": 4}

    def test_a_line_that_ends_in_the_same_chunk_can_be_too_long_races_c15(self) -> None:
        with pytest.raises(LineTooLong):
            LineSplitter(4).feed(b"12345\n{}\n")

    def test_the_usual_limit_is_met_in_a_bounded_buffer_races_c15(self) -> None:
        splitter, chunk = LineSplitter(), b" " * (1 << 20)
        for _ in range(MAX_LINE >> 20):
            assert splitter.feed(chunk) == []
        with pytest.raises(LineTooLong):
            splitter.feed(chunk)

    def test_a_long_legitimate_line_passes_races_c15(self) -> None:
        line = jsonrpc.notification("m", encode({"text": "x" * 10_000_000}))
        splitter = LineSplitter()
        chunks = [line[at : at + 65536] for at in range(0, len(line), 65536)]
        (whole_line,) = [found for chunk in chunks for found in splitter.feed(chunk)]
        assert parse_envelope(whole_line).raw == line[:-1]


class TestNoBytesDoHarm:
    """C14 and C15: whatever the other side writes is a message or a BadMessage, and never another exception."""

    @pytest.mark.parametrize(
        "parse", [parse_envelope, decode, members, lambda raw: replace_members(raw, sessionId="s")]
    )
    @given(raw=anything)
    def test_parsers_raise_bad_message_only_races_c14_c15(
        self, parse: Callable[[bytes], Any], raw: bytes
    ) -> None:
        try:
            parse(raw)
        except BadMessage as error:
            assert error.rpc_code in (PARSE_ERROR, INVALID_REQUEST, INVALID_PARAMS)
            assert str(error)

    @given(anything)
    def test_every_token_has_a_key_races_c14(self, raw: bytes) -> None:
        assert id_key(raw) == id_key(raw)
        hash(id_key(raw))

    @given(anything, st.integers(1, 10))
    def test_feed_raises_line_too_long_only_races_c15(self, data: bytes, limit: int) -> None:
        splitter = LineSplitter(limit)
        try:
            splitter.feed(data)
        except LineTooLong as error:
            assert error.rpc_code == INVALID_REQUEST

    @pytest.mark.parametrize("core", [b"1", b'"\\ud800"', b'{"a":"\\ud800"}'])
    @pytest.mark.parametrize(
        "line",
        [b"%b", b'{"a":%b}', b'{"method":"m","params":%b}', b'{"id":%b,"method":1}', b'{"id":%b,"result":1}'],
    )
    def test_no_depth_does_harm_races_c15(self, line: bytes, core: bytes) -> None:
        limit = deepest()
        for depth in itertools.chain(range(limit - 20, limit + 5), [DEEP]):
            raw = line % nested(depth, core)
            for parse in (parse_envelope, decode, replace_members):
                try:
                    parse(raw)
                except BadMessage:
                    pass
            id_key(raw)

    @pytest.mark.parametrize(
        "line", [b'"\xff"', b'{"\xff":1}', b'{"method":"m","params":{"a":"\xc3("}}', b"\xff"]
    )
    def test_invalid_utf8_is_no_json_wherever_it_is_races_c15(self, line: bytes) -> None:
        with pytest.raises(BadMessage, match="no JSON") as caught:
            parse_envelope(line)
        assert caught.value.rpc_code == PARSE_ERROR

    def test_a_bad_line_leaves_the_next_one_whole_races_c14_c15(self) -> None:
        bad, garbage, good = LineSplitter().feed(b'{"a":"\xff"}\nnpm WARN\n{"method":"m"}\n')
        for line in (bad, garbage):
            with pytest.raises(BadMessage):
                parse_envelope(line)
        assert parse_envelope(good).method == "m"


class TestPeek:
    @given(st.integers(), whole, spelled)
    def test_a_request_is_restored_byte_for_byte(self, id: int, method: str, params: bytes) -> None:
        line = jsonrpc.request(id, method, params)
        message = parse_envelope(line)
        assert line.endswith(b"\n") and message.raw == line
        assert (message.kind, message.id, message.method) == (Kind.REQUEST, b"%d" % id, method)
        assert message.params == (b"{}" if params == b"null" else params)

    @given(whole, spelled)
    def test_a_notification_is_restored_byte_for_byte(self, method: str, params: bytes) -> None:
        message = parse_envelope(jsonrpc.notification(method, params))
        assert (message.kind, message.id, message.method) == (Kind.NOTIFICATION, None, method)
        assert message.params == (b"{}" if params == b"null" else params)

    @given(spelled, spelled)
    def test_a_reply_is_restored_byte_for_byte(self, id: bytes, result: bytes) -> None:
        message = parse_envelope(jsonrpc.response(id, result))
        assert (message.kind, message.id, message.result) == (Kind.RESPONSE, id, result)
        assert (message.error, message.method) == (None, None)
        message = parse_envelope(jsonrpc.error_response(id, result))
        assert (message.kind, message.id, message.error) == (Kind.RESPONSE, id, result)
        assert (message.result, message.method) == (None, None)

    @given(values(broken), broken, st.dictionaries(broken, values(broken), max_size=3))
    def test_lone_surrogates_keep_their_value(self, id: Any, method: str, params: dict[str, Any]) -> None:
        params = {"sessionId": "\ud800"} | params
        line = encode({"id": id, "method": method, "params": params})
        message = parse_envelope(line)
        assert message.raw == line
        assert message.method == method
        assert decode(message.id or b"") == id
        assert decode(message.params) == params
        session_id = params["sessionId"]
        assert message.session_id == (session_id if isinstance(session_id, str) else None)

    @pytest.mark.parametrize(
        ("line", "kind"),
        [
            (b'{"id":7,"method":"m","result":{}}', Kind.REQUEST),
            (b'{"result":{},"error":{},"id":7,"method":"m"}', Kind.REQUEST),
            (b'{"id":7,"method":"m","error":{}}', Kind.REQUEST),
            (b'{"method":"m","result":{}}', Kind.NOTIFICATION),
            (b'{"id":7,"result":{"method":"m"}}', Kind.RESPONSE),
        ],
    )
    def test_a_method_makes_a_request_whatever_else_is_there_races_c12(self, line: bytes, kind: Kind) -> None:
        message = parse_envelope(line)
        assert message.kind is kind
        if kind is not Kind.RESPONSE:
            assert message.result is None and message.error is None

    @pytest.mark.parametrize(
        "id",
        [
            b"0",
            b"-1",
            b"1.0",
            b"1e0",
            b'"1"',
            b'"\\u0031"',
            b'""',
            b"null",
            b"true",
            b"1e999",
            b"[1]",
            MANY_DIGITS,
        ],
    )
    def test_an_id_comes_back_as_it_was_sent_races_c14(self, id: bytes) -> None:
        message = parse_envelope(b'{"jsonrpc":"2.0","id": %b ,"method":"m"}' % id)
        assert (message.kind, message.id) == (Kind.REQUEST, id)
        assert parse_envelope(jsonrpc.response(message.id or b"", b"1")).id == id

    @pytest.mark.parametrize(
        ("line", "result", "error"),
        [
            (b'{"id":1,"result":null}', b"null", None),
            (b'{"id":1,"result":1,"error":null}', b"1", None),
            (b'{"id":1,"result":null,"error":null}', b"null", None),
            (b'{"id":1,"error":null}', None, b"null"),
            (b'{"id":1,"result":null,"error":{"code":1}}', b"null", b'{"code":1}'),
            (b'{"id":null,"error":{"code":-32700}}', None, b'{"code":-32700}'),
            (b'{"id":1,"error":"no"}', None, b'"no"'),
        ],
    )
    def test_replies_of_many_makes_races_c14(
        self, line: bytes, result: bytes | None, error: bytes | None
    ) -> None:
        message = parse_envelope(line)
        assert (message.kind, message.result, message.error) == (Kind.RESPONSE, result, error)

    @pytest.mark.parametrize(
        ("line", "id"),
        [
            (b"{}", None),
            (b'{"jsonrpc":"2.0","params":{}}', None),
            (b'{"result":1}', None),
            (b'{"id":1}', b"1"),
            (b'{"id":"a","params":{}}', b'"a"'),
            (b'{"id":null}', b"null"),
            (b'{"id":1,"method":null}', b"1"),
            (b'{"id":1,"method":5}', b"1"),
            (b'{"method":["m"]}', None),
            (b'{"id":1,"method":5,"x":%b}' % nested(DEEP), None),
            (b'{"method":5,"x":"\\ud800"}', None),
            (b'{"x":"\\ud800","method":5}', None),
            (b'{"x":"\\ud800","id":1,"method":5}', None),
            (b'"\\ud800"', None),
            (b"1", None),
            (b"null", None),
            (b"true", None),
            (b'"m"', None),
        ],
    )
    def test_json_that_is_no_message_races_c14(self, line: bytes, id: bytes | None) -> None:
        with pytest.raises(BadMessage) as caught:
            parse_envelope(line)
        assert (caught.value.rpc_code, caught.value.id) == (INVALID_REQUEST, id)

    @pytest.mark.parametrize("line", [b"[]", b' [{"id":1,"method":"m"}]', b"[1]", nested(DEEP)])
    def test_a_batch_is_told_apart(self, line: bytes) -> None:
        with pytest.raises(BadMessage, match="batches are not supported") as caught:
            parse_envelope(line)
        assert (caught.value.rpc_code, caught.value.id) == (INVALID_REQUEST, None)

    @pytest.mark.parametrize(
        "line",
        [
            b"",
            b"x",
            b"{",
            b'{"method":"m"} {}',
            b"{'method':'m'}",
            b'{"method":"m",}',
            b'{"id":01,"method":"m"}',
            b'{"id":NaN,"method":"m"}',
            b'{"method":"m","params":{"x":Infinity}}',
            b'{"method":"m","params":{"x":"\x01"}}',
            b'{"method":"m","params":{"a":"\\ud800","x":NaN}}',
            b'{"method":"m","params":{"a":"\\ud800","x":1e999}}',
            b'{"method":"m","params":{"a":"\\ud800"}',
            b'{"method":"m","params":%b}' % nested(DEEP),
            b'{"method":"\\ud800","params":%b}' % nested(DEEP),
        ],
    )
    def test_what_is_no_json_races_c14(self, line: bytes) -> None:
        with pytest.raises(BadMessage, match="no JSON") as caught:
            parse_envelope(line)
        assert (caught.value.rpc_code, caught.value.id) == (PARSE_ERROR, None)

    @pytest.mark.parametrize("number", [b"1e999", b"-1e999", MANY_DIGITS, b"0.10000000000000000001"])
    def test_numbers_which_python_can_not_hold_pass(self, number: bytes) -> None:
        assert parse_envelope(jsonrpc.notification("m", b'{"x":%b}' % number)).params == b'{"x":%b}' % number

    @pytest.mark.parametrize(
        ("params", "session_id"),
        [
            (b'{"sessionId":"s"}', "s"),
            (b'{"a":{"sessionId":"no"},"sessionId":"s"}', "s"),
            (b'{"sessionId":"\\ud800"}', "\ud800"),
            (b'{"sessionId":"s","a":"\\ud800"}', "s"),
            (b'{"sessionId":5,"a":"\\ud800"}', None),
            (b'["\\ud800"]', None),
            (b'"\\ud800"', None),
            (b'{"sessionId":5}', None),
            (b'{"sessionId":null}', None),
            (b'{"sessionId":1e999}', None),
            (b'{"session_id":"s"}', None),
            (b"{}", None),
            (b"[]", None),
            (b"5", None),
            (b"null", None),
        ],
    )
    def test_the_session_is_read_off_the_params(self, params: bytes, session_id: str | None) -> None:
        message = parse_envelope(jsonrpc.request(1, "m", params))
        assert message.session_id == session_id
        assert message.params == (b"{}" if params == b"null" else params)

    def test_no_params_are_empty_ones(self) -> None:
        assert parse_envelope(b'{"method":"m"}').params == b"{}"

    def test_the_last_of_two_equal_members_counts(self) -> None:
        message = parse_envelope(b'{"id":1,"method":"a","id":2,"method":"b"}')
        assert (message.id, message.method) == (b"2", "b")

    def test_u2028_is_an_ordinary_character(self) -> None:
        (line,) = LineSplitter().feed(jsonrpc.notification("\u2028", encode({"sessionId": "\u2029"})))
        message = parse_envelope(line)
        assert (message.method, message.session_id) == ("\u2028", "\u2029")

    def test_messages_are_told_apart_by_identity(self) -> None:
        one, two = parse_envelope(b'{"method":"m"}'), parse_envelope(b'{"method":"m"}')
        assert one != two


class TestIdKey:
    def test_ids_of_different_types_differ_races_c14(self) -> None:
        ids = [
            b"1",
            b"1.0",
            b"true",
            b'"1"',
            b"0",
            b"false",
            b'"0"',
            b"null",
            b'"null"',
            b'""',
            b"-1",
            b"[1]",
            b"{}",
        ]
        assert len({id_key(id) for id in ids}) == len(ids)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (b'"1"', b'"\\u0031"'),
            (b'"\\ud83d"', b'"\\uD83D"'),
            (b'"\\ud83d\\ude00"', '"😀"'.encode()),
            (b"1.0", b"1e0"),
            (b"1", b" 1 "),
        ],
    )
    def test_spellings_of_one_id_are_equal(self, one: bytes, other: bytes) -> None:
        assert id_key(one) == id_key(other)

    def test_big_ints_keep_their_last_digit(self) -> None:
        assert id_key(b"9007199254740993") != id_key(b"9007199254740992")
        assert id_key(b"%d" % 10**30) != id_key(b"%d" % (10**30 + 1))
        assert id_key(b"%d" % 10**30) == (int, 10**30)

    @pytest.mark.parametrize("token", [b"NaN", b"1e999", MANY_DIGITS, b"", b"\xff", b"x", b"[1]", b'{"a":1}'])
    def test_what_is_no_id_stands_for_itself_races_c14(self, token: bytes) -> None:
        assert id_key(token) == (bytes, token)


class TestEncodeAndDecode:
    @given(values(broken))
    def test_decode_undoes_encode(self, value: Any) -> None:
        raw = encode(value)
        assert decode(raw) == value
        assert encode(decode(raw)) == raw  # 1, 1.0 and true are equal, but not the same
        assert b"\n" not in raw

    @given(whole)
    def test_what_has_no_lone_surrogates_is_not_escaped(self, text: str) -> None:
        assert encode({"a": [text]}) == b'{"a":[%b]}' % json.dumps(text, ensure_ascii=False).encode()

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    def test_encode_makes_no_such_numbers(self, value: float) -> None:
        assert encode({"a": [value]}) == b'{"a":[null]}'
        with pytest.raises(ValueError, match="not JSON compliant"):
            encode([value, "\ud800"])

    @pytest.mark.parametrize("value", [{None: 1}, {True: 1}])
    def test_names_that_are_no_text_become_some(self, value: dict[object, int]) -> None:
        assert encode(value) == json.dumps(value, separators=(",", ":")).encode()

    @pytest.mark.parametrize(
        "raw",
        [b"NaN", b"[Infinity]", b"-Infinity", b"1e999", b"[-1e999]", MANY_DIGITS, b"", b"x", b"1 2", b"01"]
        + [BOM + b"1", b'"\xff"', b"\xff", b'"\xed\xa0\x80"', b'"\\ud800', b'"\\ud80"', nested(DEEP)],
    )
    def test_decode_refuses(self, raw: bytes) -> None:
        with pytest.raises(BadMessage, match="no JSON") as caught:
            decode(raw)
        assert caught.value.rpc_code == PARSE_ERROR

    @pytest.mark.parametrize(
        ("raw", "value"),
        [
            (b"%d" % 2**70, 2**70),
            (b'["\\ud800",1.5,%d]' % 2**70, ["\ud800", 1.5, 2**70]),
            (b'"\\ud83d\\ude00"', "😀"),
            (b" {} ", {}),
            (nested(3), [[[1]]]),
        ],
    )
    def test_decode(self, raw: bytes, value: object) -> None:
        assert decode(raw) == value

    def test_an_error_object_has_data_if_there_is_some(self) -> None:
        assert jsonrpc.error_object(-1, "no") == b'{"code":-1,"message":"no"}'
        assert jsonrpc.error_object(-1, "no", []) == b'{"code":-1,"message":"no","data":[]}'


class TestMembers:
    @given(st.dictionaries(whole, spelled, max_size=5), st.dictionaries(whole, values(broken), max_size=3))
    def test_other_members_stay_byte_for_byte(self, others: dict[str, bytes], fields: dict[str, Any]) -> None:
        raw = b"{ %b }" % b" , ".join(encode(key) + b" : " + value for key, value in others.items())
        assert members(raw) == others
        new = replace_members(raw, **fields)
        rest = others | {key: encode(value) for key, value in fields.items()}
        assert new == b"{" + b",".join(encode(key) + b":" + value for key, value in rest.items()) + b"}"

    @given(st.dictionaries(broken, values(broken), max_size=5), values(broken))
    def test_lone_surrogates_keep_their_value(self, others: dict[str, Any], value: Any) -> None:
        assert decode(replace_members(encode(others), sessionId=value)) == others | {"sessionId": value}

    def test_a_member_is_replaced_where_it_stands(self) -> None:
        assert (
            replace_members(b'{"a": 1e999,"b":2, "c":[ ]}', b="\ud800")
            == b'{"a":1e999,"b":"\\ud800","c":[ ]}'
        )
        assert replace_members(b'{"\\u0061":1,"x":2}', a=3) == b'{"a":3,"x":2}'
        assert replace_members(b'{"a":1.50}') == b'{"a":1.50}'

    @pytest.mark.parametrize(
        "raw", [b"[]", b"null", b"5", b'"a"', b'"\\ud800"', b'["\\ud800"]', nested(DEEP)]
    )
    def test_what_is_no_object(self, raw: bytes) -> None:
        with pytest.raises(BadMessage, match="expected an object") as caught:
            replace_members(raw, a=1)
        assert caught.value.rpc_code == INVALID_PARAMS

    @pytest.mark.parametrize(
        "raw", [b"", b"{", b"x", b'{"\xff":1}', b'{"a":%b}' % nested(DEEP), b'{"\\ud800":NaN}']
    )
    def test_what_is_no_json(self, raw: bytes) -> None:
        with pytest.raises(BadMessage, match="no JSON") as caught:
            members(raw)
        assert caught.value.rpc_code == PARSE_ERROR
