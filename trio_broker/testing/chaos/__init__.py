"""Chaos: a real daemon, tens of sessions and clients, random faults, and the broker's promises checked throughout.

    trio-broker chaos --minutes 2 --seed 7

The folder owns the faults, the clients that use the daemon meanwhile, and the check of everything that they received.
It must not import the broker: it has a daemon of its own in a `Home`. Read `run` first, then `faults`, which draws a
schedule from a seed and injects it, `clients`, `daemon` and `evidence`. `garbage` is what a broken agent writes. A seed
repeats the schedule of faults, though not the timing of the system.
"""
