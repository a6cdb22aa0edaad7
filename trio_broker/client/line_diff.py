"""The difference of two texts, line by line, in bounded time.

`difflib` alone takes quadratic time and worse, and the texts are an agent's: whole files, or made to be slow. So the
equal lines at the start and the end are set aside first. In a long middle, the lines that stand once in both texts
divide it (as in the "patience" algorithm of git). Only what is left between them goes to `difflib`, up to a budget.
A part beyond the budget is shown as all of its old lines, then all of its new ones: longer, and as true.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

import attrs

CONTEXT = 3  # equal lines that are shown around a change
MAX_PART = 40_000  # pairs of lines that `difflib` may compare in one part
BUDGET = 400_000  # such pairs in all parts together

Lines = Sequence[str]
Match = tuple[
    int, int, int
]  # equal lines: index of the first in the old text and in the new one, and their count
Change = tuple[int, int, int, int]  # old lines from, to (exclusive); new lines from, to


@attrs.frozen
class DiffLine:
    """`mark`: "+" added, "-" removed, " " equal, "@" the head of a hunk, with the line numbers in its text."""

    mark: str
    text: str


def diff(old: Lines, new: Lines) -> Iterator[DiffLine]:
    """The hunks of a unified diff; nothing when the texts are equal."""
    for hunk in _hunks(_changes(old, new)):
        (first, _, new_first, _), (_, last, _, new_last) = hunk[0], hunk[-1]
        before, after = min(CONTEXT, first), min(CONTEXT, len(old) - last)
        old_range = _range(first - before, last + after)
        yield DiffLine("@", f"@@ -{old_range} +{_range(new_first - before, new_last + after)} @@")
        at = first - before
        for old_from, old_to, new_from, new_to in hunk:
            yield from (DiffLine(" ", line) for line in old[at:old_from])
            yield from (DiffLine("-", line) for line in old[old_from:old_to])
            yield from (DiffLine("+", line) for line in new[new_from:new_to])
            at = old_to
        yield from (DiffLine(" ", line) for line in old[at : at + after])


def _range(start: int, end: int) -> str:
    count = end - start
    return f"{start + 1 if count else start}" + ("" if count == 1 else f",{count}")


def _hunks(changes: Iterator[Change]) -> Iterator[list[Change]]:
    """Changes that share their context stand in one hunk."""
    hunk: list[Change] = []
    for change in changes:
        if hunk and change[0] - hunk[-1][1] > 2 * CONTEXT:
            yield hunk
            hunk = []
        hunk.append(change)
    if hunk:
        yield hunk


def _changes(old: Lines, new: Lines) -> Iterator[Change]:
    i = j = 0
    for at, new_at, count in (*_matches(old, new), (len(old), len(new), 0)):
        if at > i or new_at > j:
            yield i, at, j, new_at
        i, j = at + count, new_at + count


def _matches(old: Lines, new: Lines) -> Iterator[Match]:
    """Runs of equal lines, in order; two of them may be adjacent."""
    start, end = 0, 0
    most = min(len(old), len(new))
    while start < most and old[start] == new[start]:
        start += 1
    while end < most - start and old[-1 - end] == new[-1 - end]:
        end += 1
    yield 0, 0, start
    budget = BUDGET
    i = j = start
    last = (len(old) - end, len(new) - end)
    middle = _unique_lines(old[start : last[0]], new[start : last[1]], start)
    for at, new_at in (*middle, last):
        pairs = (at - i) * (new_at - j)
        if 0 < pairs <= min(MAX_PART, budget):
            budget -= pairs
            yield from _compare(old[i:at], new[j:new_at], i, j)
        if (at, new_at) != last:
            yield at, new_at, 1
        i, j = at + 1, new_at + 1
    yield *last, end


def _compare(old: Lines, new: Lines, i: int, j: int) -> Iterator[Match]:
    import difflib  # late: most clients show no diff

    for at, new_at, count in difflib.SequenceMatcher(None, old, new).get_matching_blocks():
        yield i + at, j + new_at, count


def _unique_lines(old: Lines, new: Lines, offset: int) -> list[tuple[int, int]]:
    """Pairs of equal lines that stand once in each text, the longest row of them that rises in both; none if short."""
    if len(old) * len(new) <= MAX_PART:
        return []
    places = _places_of_unique(new)
    pairs = [(i, places[line]) for line, i in _places_of_unique(old).items() if line in places]
    return [(i + offset, j + offset) for i, j in _longest_rising(pairs)]


def _places_of_unique(lines: Lines) -> dict[str, int]:
    places: dict[str, int] = {}
    for index, line in enumerate(lines):
        places[line] = -1 if line in places else index
    return {line: index for line, index in places.items() if index >= 0}


def _longest_rising(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The longest subsequence with rising second members; the first ones rise already."""
    ends: list[int] = []  # the smallest second member that ends a row of each length
    at: list[int] = []  # the index of its pair
    before: list[int] = []  # for each pair, the index of the one before it in its row
    for index, (_, j) in enumerate(pairs):
        length = bisect_left(ends, j)
        before.append(at[length - 1] if length else -1)
        if length == len(ends):
            ends.append(j)
            at.append(index)
        else:
            ends[length], at[length] = j, index
    row: list[tuple[int, int]] = []
    index = at[-1] if at else -1
    while index >= 0:
        row.append(pairs[index])
        index = before[index]
    return row[::-1]
