"""The commands that try something out: conformance checks, random faults, the demo and its agent.

Owns how their results are shown. The checks and the faults themselves are those of `trio_broker.testing`, imported when
a command is called. Read `check`, `chaos`, `demo` (demo, demo-agent), `demo_scenario`.
"""
