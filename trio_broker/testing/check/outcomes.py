"""The outcome of a check: a `Verdict`, and the exceptions that end a check with it."""

from __future__ import annotations

import enum


class Verdict(enum.StrEnum):
    """`UNSUPPORTED`: the agent does not offer it; `SKIPPED`: it is about something that there is not here.

    `UNTRIED`: it could be tried with another prompt, or after a login; or if the agent started.
    """

    PASS = "pass"  # noqa: S105  # no password
    FAIL = "fail"
    UNSUPPORTED = "not supported"
    UNTRIED = "not tried"
    SKIPPED = "skipped"


class CheckEnded(Exception):
    """Ends a check before its last line; the words say why."""

    verdict = Verdict.SKIPPED


class Failed(CheckEnded):
    """The agent broke the rule."""

    verdict = Verdict.FAIL


class Unsupported(CheckEnded):
    """The agent does not offer what the rule is about."""

    verdict = Verdict.UNSUPPORTED


class Skipped(CheckEnded):
    """The rule can't be tried here."""


class Untried(CheckEnded):
    """The rule was not tried; with `option` of `trio-broker check`, the field of `Settings` so called, it would be."""

    verdict = Verdict.UNTRIED

    def __init__(self, why: str, option: str) -> None:
        super().__init__(why)
        self.option = option
