"""The map of sessions, whose every method is one step."""

from __future__ import annotations

import attrs
import pytest

from trio_broker.errors import PoolFull
from trio_broker.pool import Pool


@attrs.define(eq=False)
class Entry:
    over: bool = False


def test_b1_a_key_is_claimed_once() -> None:
    pool, first = Pool[Entry](2), Entry()
    assert pool.claim("k", first) == (first, True)
    assert pool.claim("k", Entry()) == (first, False)


def test_b1_one_that_is_over_is_replaced() -> None:
    pool, old, new = Pool[Entry](1), Entry(), Entry()
    pool.claim("k", old)
    old.over = True
    assert pool.claim("k", new) == (new, True) and pool.get("k") is new


def test_b2_release_is_by_identity() -> None:
    pool, old, new = Pool[Entry](1), Entry(over=True), Entry()
    pool.claim("k", old)
    pool.claim("k", new)
    assert not pool.release("k", old) and pool.get("k") is new
    assert pool.release("k", new) and pool.get("k") is None
    assert not pool.release("k", new)


def test_b6_a_full_pool_refuses_and_changes_nothing() -> None:
    pool = Pool[Entry](2)
    entries = {key: pool.claim(key, Entry())[0] for key in "ab"}
    with pytest.raises(PoolFull, match=r"2 sessions are live, .* max_sessions in \[broker\]"):
        pool.claim("c", Entry())
    assert set(pool.snapshot()) == set(entries.values())
    entries["a"].over = True
    assert pool.claim("c", Entry())[1] and pool.live() == 2


def test_b9_only_the_newest_of_those_that_are_over_are_kept() -> None:
    pool = Pool[Entry](1, keep=3)
    for number in range(10):
        pool.claim(f"k{number}", Entry())[0].over = True
    alive, _ = pool.claim("alive", Entry())
    assert len(pool.snapshot()) == 4 and pool.get("alive") is alive
    assert [pool.get(f"k{number}") is not None for number in range(6, 10)] == [False, True, True, True]
