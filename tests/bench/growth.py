"""Many of them: sessions, clients, events. Each function takes a Bench, and adds rows to it."""

from __future__ import annotations

import time

from tests.bench.daemon import Daemon, cpu, memory
from tests.bench.table import UNIX, WEBSOCKET, Bench, Series
from trio_broker.journal.folding import AT_REST

FULL, SHORT = (1, 10, 100), (1, 5)


def status(bench: Bench) -> None:
    """`_trio_broker/status` while so many sessions say something ten times a second each, all heard by one client."""
    for sessions in (1, 20) if bench.short else (1, 100, 500):
        with Daemon(bench.tools.agent) as daemon, bench.tools.held(
            daemon.unix, "--sessions", sessions, "--prompt", f"tick {bench.size(80, 20)} 100000"
        ) as streaming:  # fmt: skip
            streaming.wait("open")
            streaming.go_on()
            time.sleep(1)  # all of them are at it
            before, at = cpu(daemon.pid), time.monotonic()
            found = bench.tools.client(
                daemon.unix, "--call", "_trio_broker/status", "--repeat", bench.size(300, 50)
            )
            share = (cpu(daemon.pid) - before) / (time.monotonic() - at)
            streaming.wait("done")
            streaming.go_on()
            streaming.result()
        bench.facts[f"status_{sessions}"] = found
        middle, high = found["p50_us"] / 1000, found["p99_us"] / 1000
        shown = f"{high:.2f} ms (p50 {middle:.2f}; broker {share:.0%} of a core)"
        wanted = sessions == 500
        target, met = ("≤ 10 ms", high <= 10) if wanted else ("", None)
        bench.add(f"status p99, {sessions} sessions streaming", target, shown, "", met)


def many(bench: Bench) -> None:
    """So many live sessions: opened, prompted all at once, each answered; the same updates in all for each number."""
    total, costs = bench.size(1_000_000, 20_000), {}
    each = bench.size(1000, 200)
    for sessions in (2, 20) if bench.short else (10, 100, 1000):
        rounds = max(1, total // each // sessions)
        options = ("--sessions", sessions, "--prompt", f"flood {each} 200", "--repeat", rounds)
        with Daemon(bench.tools.agent) as daemon:
            bench.tools.client(daemon.unix)  # what every broker needs once is not a session's
            empty = memory(daemon.pid)
            with bench.tools.held(daemon.unix, *options) as client:
                client.wait("open")
                idle, before = memory(daemon.pid), cpu(daemon.pid)
                client.go_on()
                client.wait("done")
                spent = cpu(daemon.pid) - before
                time.sleep(AT_REST + 2)  # by then it has given back what it does not need
                busy = memory(daemon.pid)
                client.go_on()
                found = client.result()
        costs[sessions] = spent / found["updates"] * 1e6
        per_second = sessions / found["ready_ms"] * 1000
        kib, worked = (idle - empty) / sessions / 1024, (busy - empty) / sessions / 1024
        bench.facts[f"sessions_{sessions}"] = found | {
            "kib_idle": kib,
            "kib_worked": worked,
            "cpu_us": costs[sessions],
        }
        largest = sessions == 1000
        target, met = ("≤ 150 KiB", max(kib, worked) <= 150) if largest else ("", None)
        shown = f"{kib:.0f} KiB idle, {worked:.0f} KiB when all have worked"
        bench.add(f"broker memory a session, {sessions} sessions", target, shown, "", met)
        bench.add(f"sessions opened a second, {sessions} at once", "", f"{per_second:,.0f}")
    first, last = costs[min(costs)], costs[max(costs)]
    shown = f"{last:.2f} µs ({min(costs)}: {first:.2f} µs)"
    ratio, met = f"{last / first:.2f} x", None if bench.short else last <= 2 * first
    bench.add(
        f"CPU an update at {max(costs):,} sessions, turns of {each:,}",
        f"≤ 2 x that at {min(costs)}",
        shown,
        ratio,
        met,
    )


def fan_out(bench: Bench) -> None:
    """One session heard by many: over its own WebSocket each."""
    paced, ticks = {}, bench.size(2000, 200)
    with Daemon(bench.tools.agent) as daemon:
        for clients in SHORT if bench.short else FULL:
            options = ("--clients", clients, "--prompt")
            count = bench.size(1_000_000, 20_000) // max(10, clients)
            before = cpu(daemon.pid)
            flood = bench.tools.client(daemon.websocket, *options, f"flood {count} 200", token=daemon.token)
            cost = (cpu(daemon.pid) - before) / flood["updates"] * 1e6
            tick = bench.tools.client(daemon.websocket, *options, f"tick {ticks} 1000", token=daemon.token)
            paced[clients] = tick["p50_us"]
            bench.facts[f"fan_out_{clients}"] = {"flood": flood, "tick": tick, "cpu_us": cost}
            shown, most = f"{cost:.2f} µs", clients == 100
            met = cost <= 0.5 if most else None
            bench.add(
                f"CPU an update and client in a flood, {clients} clients",
                "≤ 0.5 µs" if most else "",
                shown,
                "",
                met,
            )
    ratio = paced[max(paced)] / paced[1]
    met = None if bench.short else ratio <= 1.1
    measure = f"a turn of {ticks:,} updates, 1,000 a second, heard by {max(paced)} clients"
    bench.add(measure, "≤ 1.1 x one client", f"{paced[max(paced)] / 1e6:.3f} s", f"{ratio:.3f} x", met)


def replay(bench: Bench) -> None:
    """Somebody comes late: the whole log, raw, from the journal."""
    count = bench.size(100_000, 5_000)
    rate, first = Series(), Series()
    with (
        Daemon(bench.tools.agent) as daemon,
        bench.tools.held(daemon.unix, "--prompt", f"flood {count} 200") as client,
    ):
        client.wait("open")
        client.go_on()
        client.wait("done")
        (view,) = daemon.call("status")["sessions"]
        for _ in range(bench.rounds):
            for name, door, token in (
                (WEBSOCKET, daemon.websocket, daemon.token),
                (UNIX, daemon.unix, ""),
            ):
                options = ("--replay", view["sessionId"], "--count", count)
                found = bench.tools.client(door, *options, token=token)
                rate.note(name, found["per_s"])
                first.note(name, found["first_ms"])
    bench.facts["replay_per_second"], bench.facts["replay_first_ms"] = rate.values, first.values
    for name in rate.values:
        met = rate[name] >= 500_000 and first[name] <= 20
        shown = f"{rate[name]:,.0f}/s, first after {first[name]:.1f} ms"
        bench.add(f"replay of {count:,} updates, {name[13:]}", "≥ 500,000/s, ≤ 20 ms", shown, "", met)
