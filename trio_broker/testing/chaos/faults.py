"""Which fault comes when: drawn from a seed, so that a run can be repeated."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import attrs

# What is done, and how often in comparison.
WEIGHTS = {
    "kill_agent": 6,
    "stop_agent": 3,
    "cut_client": 6,
    "stall_client": 3,
    "rude_client": 4,
    "rude_agent": 6,
    "full_queue": 2,
    "flood": 1,
    "full_disk": 1,
    "clock_jump": 2,
    "restart_broker": 1,
    "second_signal": 1,
    "kill_broker": 2,
}


@attrs.frozen
class Fault:
    """`at`: seconds from the beginning. `draw`: a number from 0 to 1 that says whom it hits, and how hard."""

    at: float
    name: str
    draw: float


def schedule(seed: int, seconds: float, every: float, only: Sequence[str] = ()) -> Iterator[Fault]:
    """Faults for so many seconds, one every so many on average; the same for the same seed. `only`: none but these."""
    rng, at = random.Random(seed), 0.0
    names = list(only or WEIGHTS)
    while (at := at + rng.expovariate(1 / every)) < seconds:
        name = rng.choices(names, [WEIGHTS[name] for name in names])[0]
        yield Fault(at, name, rng.random())
