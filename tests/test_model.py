"""The words in which ends are told."""

from __future__ import annotations

import pytest

from trio_broker.model import Exit


@pytest.mark.parametrize(
    ("returncode", "words", "details"),
    [
        (0, "exit code 0", {"exitCode": 0, "signal": None}),
        (3, "exit code 3", {"exitCode": 3, "signal": None}),
        (-9, "signal 9 (SIGKILL)", {"exitCode": None, "signal": "SIGKILL"}),
        (-45, "signal 45 (45)", {"exitCode": None, "signal": "45"}),  # a real-time signal has no name
    ],
)
def test_an_exit_is_told_by_code_or_signal(returncode: int, words: str, details: dict[str, object]) -> None:
    found = Exit.from_returncode(returncode)
    assert (str(found), found.details()) == (words, details)
