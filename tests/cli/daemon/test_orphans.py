"""`orphans` lists processes whose broker is gone, and needs no broker."""

from __future__ import annotations

from trio_broker.testing.processes.home import Home


def test_orphans_needs_no_broker_and_finds_none_where_all_is_well(home: Home) -> None:
    assert home.run("orphans").stderr == "0 orphans\n"
    assert home.run("fake", "-s", "k", "say one").returncode == 0
    assert home.json("orphans") == {"orphans": [], "ended": 0}, "those of a living broker are none"
