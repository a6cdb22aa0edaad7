"""A stand-in for a broker: `python guarded.py INSTANCE AGENTS` is guarded, and has agents that heed nothing.

Ends in good order when its stdin does, and leaves its agents to their fate. With `--adopt` it reaps instead what
falls to it, and says the exit code of the one process that it waits for itself.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys

import trio

from trio_broker.agent import orphans, process_tags

PYTHON = (sys.executable, "-S", "-E", "-c")
AGENT = """
import os, signal, time
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
if not os.fork():
    os.setsid()
    if os.fork():
        os._exit(0)
time.sleep(600)
"""
ORPHAN = "sleep 600 >/dev/null & echo $!"  # its parent goes at once
OURS = 7


async def main(instance: str, agents: int) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(orphans.run_watchdog, instance)
        for number in range(agents):
            env = {
                "PATH": os.environ["PATH"],
                process_tags.INSTANCE: instance,
                process_tags.SESSION: str(number),
            }
            await trio.lowlevel.open_process(
                [*PYTHON, AGENT], stdin=subprocess.DEVNULL, env=env, start_new_session=True
            )
        print("ready", flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()


async def adopt() -> None:
    orphans.become_subreaper()
    async with trio.open_nursery() as nursery:
        ours = await trio.lowlevel.open_process(["sh", "-c", f"exit {OURS}"])
        nursery.start_soon(orphans.reap_adopted, lambda: {ours.pid})
        shell = await trio.run_process(["sh", "-c", ORPHAN], capture_stdout=True)
        orphan = int(shell.stdout)
        assert (
            int((await trio.Path(f"/proc/{orphan}/stat").read_text()).rpartition(")")[2].split()[1])
            == os.getpid()
        )
        os.kill(orphan, signal.SIGKILL)
        while await trio.Path(f"/proc/{orphan}").exists():  # noqa: ASYNC110  # the system gives no event for it
            await trio.sleep(0.02)
        print("orphan reaped", "ours", await ours.wait(), flush=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    if sys.argv[1] == "--adopt":
        trio.run(adopt)
    else:
        trio.run(main, sys.argv[1], int(sys.argv[2]))
    os._exit(0)  # the agents that are left are no matter of ours, nor of subprocess's
