"""The map of sessions, whose every method is one step."""

from __future__ import annotations

import attrs

from trio_broker.broker.sessions import Pool


@attrs.define(eq=False)
class Entry:
    live: bool = True


def test_b1_a_key_is_claimed_once() -> None:
    pool, first = Pool[Entry](2), Entry()
    assert pool.claim("k", first) is first
    assert pool.claim("k", Entry()) is first
    assert pool.snapshot() == (first,)


def test_b2_release_is_by_identity() -> None:
    pool, old, new = Pool[Entry](1), Entry(), Entry()
    pool.claim("k", old)
    assert pool.release("k", old)
    pool.claim("k", new)
    assert not pool.release("k", old) and pool.get("k") is new
    assert pool.release("k", new) and pool.get("k") is None
    assert not pool.release("k", new)


def test_b5_those_without_a_process_do_not_count() -> None:
    pool = Pool[Entry](2)
    for key in "abc":
        pool.claim(key, Entry(live=key != "b"))
    assert pool.live() == 2 and len(pool.snapshot()) == 3
