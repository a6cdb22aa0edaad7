"""Chaos: a real daemon, tens of sessions and clients, random faults, and the broker's promises checked throughout.

    trio-broker chaos --minutes 2 --seed 7

`faults` draws a schedule from a seed, `people` use the broker meanwhile and write down what they were told, `evidence`
holds that against the logs, and `run` is the whole of it. A seed repeats the schedule of faults, though not the timing
of the system.
"""
