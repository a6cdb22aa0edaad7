"""The difference of two texts: it says how to get from one to the other, in bounded time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_broker.client.line_diff import DiffLine, diff

LINES = st.lists(st.sampled_from("abcde"), max_size=30)


def shown(old: list[str], new: list[str]) -> list[str]:
    return [line.text if line.mark == "@" else line.mark + line.text for line in diff(old, new)]


def apply(old: list[str], lines: list[DiffLine]) -> list[str]:
    """The new text, made as `patch` makes it: from the old one and the hunks alone."""
    new: list[str] = []
    at = 0
    for line in lines:
        if line.mark == "@":
            place, _, count = line.text.split()[1].removeprefix("-").partition(",")
            start = int(place) - (count != "0")
            new += old[at:start]
            at = start
            assert line.text.split()[2].removeprefix("+").split(",")[0] in (str(len(new) + 1), str(len(new)))
        elif line.mark == "+":
            new.append(line.text)
        else:
            assert old[at] == line.text, "what is removed or equal stands in the old text, at that place"
            new += [line.text] if line.mark == " " else []
            at += 1
    return new + old[at:]


@given(LINES, LINES)
def test_the_hunks_make_the_new_text_from_the_old_one(old: list[str], new: list[str]) -> None:
    lines = list(diff(old, new))
    assert apply(old, lines) == new
    assert bool(lines) == (old != new)


def test_a_change_stands_in_its_context_with_its_line_numbers() -> None:
    old = [str(number) for number in range(1, 31)]
    new = [*old[:9], "ten", *old[10:25], *old[26:]]
    assert shown(old, new) == [
        *("@@ -7,7 +7,7 @@", " 7", " 8", " 9", "-10", "+ten", " 11", " 12", " 13"),
        *("@@ -23,7 +23,6 @@", " 23", " 24", " 25", "-26", " 27", " 28", " 29"),
    ]
    assert shown([], ["a"]) == ["@@ -0,0 +1 @@", "+a"]
    assert shown(["a"], []) == ["@@ -1 +0,0 @@", "-a"]


def test_changes_far_apart_in_a_long_file_are_found() -> None:
    old = [f"line {number}" for number in range(20_000)]
    new = ["first", *old[1:10_000], "middle", *old[10_000:-1], "last"]
    changed = [line for line in shown(old, new) if line[0] in "+-"]
    assert changed == ["-line 0", "+first", "+middle", "-line 19999", "+last"]


SLOW: dict[str, Callable[[random.Random], list[str]]] = {
    "few different lines": lambda chance: [chance.choice("ab") for _ in range(100_000)],
    "repeated blocks": lambda chance: [str(chance.randrange(150)) for _ in range(100_000)],
    "shuffled unique lines": lambda chance: chance.sample([str(one) for one in range(100_000)], 100_000),
    "unique lines between equal ones": lambda chance: [
        line for one in range(500) for line in (f"u{one}", *chance.choices("ab", k=190))
    ],
    "short": lambda chance: chance.choices("ab", k=199),
}


@pytest.mark.parametrize("kind", SLOW)
def test_no_texts_take_long(kind: str) -> None:
    """In processor time, so that a busy machine does not count; difflib alone takes minutes for most of these."""
    old, new = (SLOW[kind](random.Random(seed)) for seed in (1, 2))
    began = time.process_time()
    lines = list(diff(old, new))
    assert time.process_time() - began < 5
    assert apply(old, lines) == new
