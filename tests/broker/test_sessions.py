"""The map of sessions, whose every method is one step."""

from __future__ import annotations

import attrs
import pytest

from trio_broker.broker.sessions import SessionPool


@attrs.define(eq=False)
class Entry:
    live: bool = True
    session_id: str | None = None


def test_b1_a_key_is_claimed_once() -> None:
    pool, first = SessionPool[Entry](2), Entry()
    assert pool.claim("k", first) is first
    assert pool.claim("k", Entry()) is first
    assert pool.snapshot() == (first,)


def test_b2_release_is_by_identity() -> None:
    pool, old, new = SessionPool[Entry](1), Entry(), Entry()
    pool.claim("k", old)
    assert pool.release("k", old)
    pool.claim("k", new)
    assert not pool.release("k", old) and pool.get("k") is new
    assert pool.release("k", new) and pool.get("k") is None
    assert not pool.release("k", new)


def test_b5_those_without_a_process_do_not_count() -> None:
    pool = SessionPool[Entry](2)
    for key in "abc":
        pool.claim(key, Entry(live=key != "b"))
    assert pool.live() == 2 and len(pool.snapshot()) == 3


def test_two_agents_that_name_their_sessions_alike_have_two_public_ids() -> None:
    pool, one, other = SessionPool[Entry](2), Entry(), Entry()
    for entry, name in ((one, "s"), (other, "s~2")):
        entry.session_id = pool.assign_id(entry, "s")
        assert entry.session_id == name and pool.get_by_id(name) is entry


def test_c16_every_id_of_every_session_is_known_closed_ones_too() -> None:
    pool, one, other = SessionPool[Entry](2), Entry(), Entry(session_id="old")
    one.session_id = pool.assign_id(one, "s")
    pool.add_id(other, "its agent's")
    assert pool.assign_id(other, "after a restart") == "old" and pool.get_by_id("old") is other
    second = Entry()
    assert pool.assign_id(second, "s") == "s~2"
    pool.release_id(one)
    for id in ("s", "s~2", "old", "its agent's", "after a restart"):
        assert pool.knows_id(id)
    assert not pool.knows_id("child-1") and not pool.knows_id("S")


def test_ids_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_broker.broker.sessions.IDS_KEPT", 10)
    pool = SessionPool[Entry](2)
    for number in range(20):
        pool.assign_id(Entry(), f"s{number}")
    assert not pool.knows_id("s9") and pool.knows_id("s10") and pool.knows_id("s19")


def test_b2_a_public_id_is_released_by_identity() -> None:
    pool, old, new = SessionPool[Entry](2), Entry(session_id="s"), Entry(session_id="s")
    pool.add_id(old)
    pool.release_id(new)
    assert pool.get_by_id("s") is old
    pool.release_id(old)
    assert pool.get_by_id("s") is None


def test_a_session_that_stays_in_the_map_is_found_after_its_id_was_released() -> None:
    pool, dead = SessionPool[Entry](2), Entry(session_id="s")
    pool.claim("k", dead)
    pool.add_id(dead)
    pool.release_id(dead)
    assert pool.get_by_id("s") is dead
