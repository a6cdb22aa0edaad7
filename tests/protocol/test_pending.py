from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_broker.errors import BadMessage
from trio_broker.protocol.jsonrpc import INVALID_REQUEST
from trio_broker.protocol.pending import BadId, DuplicateId, IncomingIds, NullId, PendingRequests


class TestCalls:
    def test_a_reply_finds_its_request(self) -> None:
        calls = PendingRequests[str]()
        assert [calls.open(entry) for entry in "abc"] == [1, 2, 3]
        assert (calls.close(b"2"), calls.close(b"1"), calls.close(b"3")) == ("b", "a", "c")
        assert (len(calls), calls.unknown) == (0, 0)

    def test_numbers_are_never_used_again_races_c10(self) -> None:
        calls = PendingRequests[str]()
        calls.forget(calls.open("a"))
        calls.close(b"%d" % calls.open("b"))
        calls.open("c")
        calls.drain()
        assert calls.open("d") == 4

    def test_a_double_reply_is_counted_races_c10(self) -> None:
        calls = PendingRequests[str]()
        calls.open("a")
        calls.open("b")
        assert calls.close(b"1") == "a"
        assert calls.close(b"1") is None
        assert (len(calls), calls.unknown) == (1, 1)

    def test_a_late_reply_is_counted_and_ends_nothing_else_races_c10(self) -> None:
        calls = PendingRequests[str]()
        timed_out, prompt = calls.open("session/set_config_option"), calls.open("session/prompt")
        assert calls.forget(timed_out) == "session/set_config_option"
        assert calls.forget(timed_out) is None
        assert calls.unknown == 0
        assert calls.close(b"%d" % timed_out) is None
        assert calls.unknown == 1
        assert calls.close(b"%d" % prompt) == "session/prompt"

    @pytest.mark.parametrize(
        "token",
        [None, b"0", b"-1", b"2", b"1.0", b"1e0", b'"1"', b"true", b"null", b"[1]", b"01", b" 1", b"1\n", b""]
        + [b"9" * 18, b"9" * 19, b"1" * 5000, "\u0661".encode(), b"\xff"],
    )
    def test_a_foreign_reply_is_counted_races_c10_c14(self, token: bytes | None) -> None:
        calls = PendingRequests[str]()
        calls.open("a")
        assert calls.close(token) is None
        assert (len(calls), calls.unknown) == (1, 1)
        assert calls.close(b"1") == "a"

    def test_find_gives_the_oldest(self) -> None:
        calls = PendingRequests[str]()
        for entry in ("a", "b", "b"):
            calls.open(entry)
        assert calls.find(lambda entry: entry == "b") == 2
        assert calls.find(lambda entry: entry == "x") is None

    def test_drain_takes_all(self) -> None:
        calls = PendingRequests[str]()
        for entry in "ab":
            calls.open(entry)
        assert calls.drain() == ["a", "b"]
        assert calls.drain() == [] and len(calls) == 0
        assert calls.close(b"1") is None
        assert calls.unknown == 1

    @given(st.lists(st.tuples(st.sampled_from(["open", "close", "forget", "drain"]), st.integers(0, 9))))
    def test_every_entry_leaves_once_races_c10(self, steps: list[tuple[str, int]]) -> None:
        calls = PendingRequests[str]()
        opened: list[str] = []
        left: list[str] = []
        unknown = 0
        for step, number in steps:
            if step == "open":
                opened.append(f"entry {calls.open(f'entry {len(opened) + 1}')}")
            elif step == "drain":
                left += calls.drain()
            else:
                found = calls.close(b"%d" % number) if step == "close" else calls.forget(number)
                assert found in (None, f"entry {number}")
                unknown += step == "close" and found is None
                left += [] if found is None else [found]
        assert calls.unknown == unknown
        assert len(calls) == len(opened) - len(left)
        assert sorted(left + calls.drain()) == sorted(opened)


class TestPeerIds:
    def test_ids_of_different_types_are_open_side_by_side_races_c14(self) -> None:
        ids = IncomingIds()
        tokens = [b"1", b"1.0", b'"1"', b"-1", b"0", b'""', b'"null"', b'"\\ud800"', b"%d" % 10**30]
        for token in tokens:
            ids.claim(token)
        assert len(ids) == len(tokens)
        for token in tokens:
            ids.release(token)
        assert len(ids) == 0

    @pytest.mark.parametrize(
        ("first", "second"), [(b"1", b"1"), (b'"1"', b'"\\u0031"'), (b"1.0", b"1e0"), (b"-7", b"-7")]
    )
    def test_an_open_id_can_not_be_used_again_until_it_is_answered(self, first: bytes, second: bytes) -> None:
        ids = IncomingIds()
        ids.claim(first)
        with pytest.raises(DuplicateId, match="still open") as caught:
            ids.claim(second)
        assert (caught.value.rpc_code, caught.value.id) == (INVALID_REQUEST, second)
        assert len(ids) == 1
        ids.release(second)
        ids.claim(first)

    def test_null_is_refused_races_c14(self) -> None:
        ids = IncomingIds()
        with pytest.raises(NullId) as caught:
            ids.claim(b"null")
        assert (caught.value.rpc_code, caught.value.id, len(ids)) == (INVALID_REQUEST, b"null", 0)

    @pytest.mark.parametrize(
        "token", [b"true", b"false", b"{}", b"[1]", b"1e999", b"1" * 5000, b"NaN", b"", b"\xff"]
    )
    def test_what_is_neither_string_nor_number_is_refused_races_c14(self, token: bytes) -> None:
        ids = IncomingIds()
        with pytest.raises(BadId) as caught:
            ids.claim(token)
        assert (caught.value.rpc_code, caught.value.id, len(ids)) == (INVALID_REQUEST, None, 0)

    def test_releasing_what_is_not_open_does_nothing(self) -> None:
        ids = IncomingIds()
        ids.claim(b"1")
        for token in (b"2", b'"1"', b"1.0", b"null", b"[]", b"x"):
            ids.release(token)
        assert len(ids) == 1

    @given(st.binary())
    def test_any_token_is_claimed_or_refused_races_c14(self, token: bytes) -> None:
        ids = IncomingIds()
        try:
            ids.claim(token)
        except BadMessage as error:
            assert error.rpc_code == INVALID_REQUEST
            assert error.code in ("null_id", "bad_id")
            assert len(ids) == 0
        else:
            ids.release(token)
            assert len(ids) == 0
