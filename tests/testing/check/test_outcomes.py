"""Each exception that ends a check has its verdict."""

from __future__ import annotations

import pytest

from trio_broker.testing.check.outcomes import CheckEnded, Failed, Skipped, Unsupported, Untried, Verdict


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (Failed("why"), Verdict.FAIL),
        (Unsupported("why"), Verdict.UNSUPPORTED),
        (Skipped("why"), Verdict.SKIPPED),
        (Untried("why", "--login"), Verdict.UNTRIED),
    ],
)
def test_an_exception_has_a_verdict(error: CheckEnded, verdict: Verdict) -> None:
    assert error.verdict is verdict and str(error) == "why"


def test_verdicts_are_the_words_of_a_report() -> None:
    assert [*Verdict] == ["pass", "fail", "not supported", "not tried", "skipped"]
