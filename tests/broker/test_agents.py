"""When an agent that fails is given a rest, and for how long."""

from __future__ import annotations

import pytest

from trio_broker.broker.agents import FAILURES_BEFORE_BACKOFF, MAX_BACKOFF, StartBackoff
from trio_broker.errors import SpawnFailed


def failed(times: int, now: float = 100.0) -> StartBackoff:
    circuit = StartBackoff()
    for number in range(times):
        circuit.record_failure(now, f"failure {number}")
    return circuit


@pytest.mark.parametrize("times", range(FAILURES_BEFORE_BACKOFF))
def test_f13_a_few_failures_are_forgiven(times: int) -> None:
    failed(times).check(100.0, "x")


@pytest.mark.parametrize(
    ("more", "rest"), [(0, 1), (1, 2), (2, 4), (5, 32), (6, MAX_BACKOFF), (500, MAX_BACKOFF)]
)
def test_f13_rests_double_up_to_the_longest(more: int, rest: float) -> None:
    circuit = failed(FAILURES_BEFORE_BACKOFF + more)
    with pytest.raises(SpawnFailed, match=r"'x' failed to start .* the last time: failure") as caught:
        circuit.check(100.0, "x")
    assert caught.value.details == {"failures": FAILURES_BEFORE_BACKOFF + more, "retryIn": rest}
    circuit.check(100.0 + rest, "x")
    assert circuit.view(100.0)["retry_in"] == rest and circuit.view(1000.0)["retry_in"] == 0


def test_f13_one_success_forgets_them_all() -> None:
    circuit = failed(50)
    circuit.record_success()
    assert circuit == StartBackoff()
