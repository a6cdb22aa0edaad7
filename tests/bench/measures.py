"""One session: updates a second, latency, and what another session's flood does to it, beside every peer.

Each function takes a Bench, and adds rows to it; all that a client hears is checked in the client.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import attrs

from tests.bench.daemon import Daemon, cpu
from tests.bench.peers import direct, serving
from tests.bench.table import UNIX, WEBSOCKET, Bench, Series
from tests.bench.tools import median


@attrs.frozen
class Server:
    """A door to measure, and the token that it wants; the daemon behind it, if it is ours."""

    door: str
    token: str = ""
    daemon: Daemon | None = None

    def cpu(self) -> float:
        """Seconds of the broker; 0 of a peer, which may be several processes."""
        return cpu(self.daemon.pid) if self.daemon else 0.0


@contextmanager
def servers(bench: Bench) -> Iterator[dict[str, Server]]:
    """This project by its two doors, and every peer that is there, all running."""
    with doors(bench) as mine, peers(bench) as theirs:
        yield mine | theirs


@contextmanager
def doors(bench: Bench) -> Iterator[dict[str, Server]]:
    """This project by its two doors, a daemon each: what one still has to write would slow the other."""
    with Daemon(bench.tools.agent) as one, Daemon(bench.tools.agent) as other:
        yield {WEBSOCKET: Server(one.websocket, one.token, one), UNIX: Server(other.unix, "", other)}


@contextmanager
def peers(bench: Bench) -> Iterator[dict[str, Server]]:
    """Every peer that is there."""
    with ExitStack() as stack:
        yield {
            name: Server(stack.enter_context(serving(command, bench.tools.agent)))
            for name, command in bench.peers.servers.items()
        }


def ours(name: str) -> bool:
    return name.startswith("trio-broker")


FLOODS = {"200 B": (200, 0, 1_000_000), "4 KB": (4096, 0, 60_000), "a line a write": (200, 1, 300_000)}


def throughput(bench: Bench) -> None:
    """Updates a second and CPU an update; peers get fewer, so that a round is short."""
    rate, used, limit = Series(), Series(), []
    with peers(bench) as theirs:
        for _ in range(bench.rounds):
            limit.append(bench.tools.pipe(f"flood {bench.size(2_000_000, 200_000)} 200"))
            with doors(bench) as mine:  # anew: a journal of gigabytes is not what is measured
                for kind, what in FLOODS.items():
                    for name, server in (mine | theirs).items():
                        _flood(bench, server, f"{name}: {kind}", what, rate, used, full=ours(name))
            for name, command in bench.peers.clients.items():
                count = bench.size(30_000, 3_000)
                found = direct(command, bench.tools.agent, f"flood {count} 200", count)
                rate.note(f"{name}: 200 B", found["per_s"])
    bench.facts["updates_per_second"] = rate.values | {"pipe": limit}
    bench.facts["cpu_us_an_update"] = used.values
    _tell_throughput(bench, rate, used, median(limit))


def _flood(
    bench: Bench,
    server: Server,
    name: str,
    what: tuple[int, int, int],
    rate: Series,
    used: Series,
    *,
    full: bool,
) -> None:
    size, lines, count = what
    count //= (1 if full else 10) * (20 if bench.short else 1)
    before = server.cpu()
    found = bench.tools.client(server.door, "--prompt", f"flood {count} {size} {lines}", token=server.token)
    rate.note(name, found["per_s"])
    if server.daemon:
        used.note(name, (server.cpu() - before) / found["updates"] * 1e6)


def _tell_throughput(bench: Bench, rate: Series, used: Series, pipe: float) -> None:
    mine = rate[f"{WEBSOCKET}: 200 B"]
    bench.add("updates/s, one session, 200 B, WebSocket", "≥ 500,000", f"{mine:,.0f}", "", mine >= 500_000)
    bench.add(
        "… against the pipe itself", "≥ 1/12", f"{pipe:,.0f}", f"1/{pipe / mine:.1f}", mine >= pipe / 12
    )
    for name in bench.peers.servers:
        its = rate[f"{name}: 200 B"]
        wanted = 3 if name.startswith("websocketd") else 10
        bench.add(
            f"… against {name}", f"≥ {wanted} x", f"{its:,.0f}", f"{mine / its:.1f} x", mine >= wanted * its
        )
    for name in bench.peers.clients:
        its = rate[f"{name}: 200 B"]
        bench.add(f"… against {name}, on a pipe", "", f"{its:,.0f}", f"{mine / its:.1f} x")
    spent = used[f"{WEBSOCKET}: 200 B"]
    bench.add("CPU of the broker an update, 200 B, WebSocket", "≤ 2 µs", f"{spent:.2f} µs", "", spent <= 2)
    unix = rate[f"{UNIX}: 200 B"]
    ratio = f"{unix / mine:.2f} x"
    bench.add("updates/s, Unix socket, 200 B", "≥ the WebSocket's", f"{unix:,.0f}", ratio, unix >= mine)
    for kind in list(FLOODS)[1:]:
        best = rate.best([f"{name}: {kind}" for name in bench.peers.servers], max)
        for name in (WEBSOCKET, UNIX):
            there, spent = rate[f"{name}: {kind}"], used[f"{name}: {kind}"]
            ratio = f"{there / best:.1f} x the best peer" if best else ""
            bench.add(f"updates/s, {kind}, {name[13:]}", "", f"{there:,.0f} ({spent:.1f} µs CPU)", ratio)


def echo(bench: Bench) -> None:
    """A prompt that is answered at once: from its first byte to its stop reason."""
    middle, high, used = Series(), Series(), Series()
    times = bench.size(500, 50)
    with servers(bench) as all_of_them:
        for _ in range(bench.rounds):
            for name, server in all_of_them.items():
                before = server.cpu()
                found = bench.tools.client(server.door, "--repeat", times, token=server.token)
                middle.note(name, found["p50_us"])
                high.note(name, found["p99_us"])
                if server.daemon:
                    used.note(name, (server.cpu() - before) / times * 1e6)
    bench.facts["echo_p50_us"], bench.facts["echo_p99_us"] = middle.values, high.values
    bench.facts["echo_cpu_us"] = used.values
    for name in (WEBSOCKET, UNIX):
        shown = f"{middle[name]:.0f} µs (p99 {high[name]:.0f}, CPU {used[name]:.0f})"
        bench.add(f"echo latency p50, {name[13:]}", "", shown)
    for name in bench.peers.servers:
        ratio, limit = middle[WEBSOCKET] / middle[name], 1.3 if name == "websocketd" else 1.0
        shown = f"{middle[name]:.0f} µs (p99 {high[name]:.0f})"
        bench.add(f"… against {name}", f"≤ {limit} x", shown, f"{ratio:.2f} x", ratio <= limit)


def isolation(bench: Bench) -> None:
    """The same on one session while another one floods, through the same server."""
    idle, busy = Series(), Series()
    options = ("--repeat", bench.size(300, 50), "--seconds", bench.size(4, 1))
    with servers(bench) as all_of_them:
        for _ in range(bench.rounds):
            for name, server in all_of_them.items():
                found = bench.tools.client(server.door, *options, token=server.token)
                idle.note(name, found["p99_us"])
                with bench.tools.held(
                    server.door, "--prompt", "flood 90000000 200", token=server.token
                ) as other:
                    other.wait("open")
                    other.go_on()
                    time.sleep(0.3)  # it floods by now; how far it is does not matter
                    found = bench.tools.client(server.door, *options, token=server.token)
                    busy.note(name, found["p99_us"])
                if server.daemon:
                    server.daemon.end_turns()
                time.sleep(0.2)  # what is left of the flood
    bench.facts["isolation_p99_us"] = {"idle": idle.values, "busy": busy.values}
    for name in idle.values:
        met = busy[name] <= 2 * idle[name] and busy[name] < 5000 if ours(name) else None
        shown = f"{busy[name] / 1000:.2f} ms (idle {idle[name] / 1000:.2f})"
        target = "≤ 2 x idle, < 5 ms" if ours(name) else ""
        ratio = f"{busy[name] / idle[name]:.1f} x"
        bench.add(f"isolation: echo p99 while another session floods, {name}", target, shown, ratio, met)
