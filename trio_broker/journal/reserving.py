"""Which numbers of a log may be told: those that no later broker gives to anything else, whatever way this one ends.

The journal knows up to which number that may have happened. It is asked for some thousands ahead, which go with a batch
that is written anyway; in a flood for more, by what is not written yet: by the next batch but one there is enough.
"""

from __future__ import annotations

from math import inf

import attrs

AHEAD = 16384  # numbers; so many are left out after a kill, at most, where there was no flood


@attrs.define(eq=False)
class Numbers:
    """`limit`: numbers up to this one may be told. `asked`: what the journal was last asked for.

    From `care` on there is something to be done.
    """

    limit: float
    asked: float = attrs.Factory(lambda self: self.limit, takes_self=True)
    care: float = attrs.Factory(lambda self: self.limit, takes_self=True)
    _low: float = attrs.Factory(lambda self: self.limit, takes_self=True)

    def wanted(self, last: int, pending: int) -> int | None:
        """What to ask the journal for, now that number `last` is given; None while there is enough.

        `pending`: how many numbers are given and not on disk.
        """
        if last < self._low and last <= self.limit:
            return None
        ahead = AHEAD + pending * (4 if last <= self.limit else 16)
        self.asked, self._low = last + ahead, last + ahead // 2
        self.care = min(self._low, self.limit + 1)
        return last + ahead

    def given_back(self, last: int) -> int | None:
        """What to ask it for when none will be needed behind number `last` for a while; None if it knows of none."""
        if self.asked <= last or self.asked == inf:
            return None
        self.limit = min(self.limit, last)
        self.asked = self._low = self.care = last
        return last

    def granted(self, upto: int) -> None:
        """So much is on disk; what was asked for since may be less."""
        self.limit = min(upto, self.asked)
        self.care = min(self._low, self.limit + 1)
