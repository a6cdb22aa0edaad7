"""The schedule of faults is drawn from a seed."""

from __future__ import annotations

from trio_broker.testing.chaos.faults import WEIGHTS, schedule


def test_one_kind_of_fault_can_be_all_that_comes() -> None:
    assert {fault.name for fault in schedule(1, 60, 0.5, ("rude_agent",))} == {"rude_agent"}


def test_a_seed_repeats_the_schedule() -> None:
    one, same, other = (list(schedule(seed, 600, 0.5)) for seed in (1, 1, 2))
    assert one == same and one != other
    assert {fault.name for fault in one} == set(WEIGHTS)
    assert [fault.at for fault in one] == sorted(fault.at for fault in one)
