"""The checks, by their subject. `invariants` has those that judge every conversation of all the others.

Each module owns the functions of its checks and their table, `CHECKS`. It must not know the runner, the report or the
command line: a check gets a `CheckContext` and raises an exception of `outcomes`. Read `initialize` first, then
`framing`, `sessions`, `turns`, `shutdown` and `invariants`, which is the order of a report.
"""
