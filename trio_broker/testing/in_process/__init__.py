"""A broker in the process of the test, mostly in virtual time with agents in memory.

The folder owns the broker's start and end in a test, its agents in memory, its clients' connections, faults, and what
must hold of a broker afterwards. It must not know the daemon or the command line. Read `rig`, then `memory_agent`.
`invariants` states the broker's promises, and `sweep` checks them after a cancellation at every step.
"""
