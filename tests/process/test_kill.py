"""`kill -9` of the daemon at random moments: what was told is in the log, once; what was accepted is done, once.

TRIO_BROKER_KILL_ROUNDS=200 makes it long; TRIO_BROKER_KILL_SEED repeats one run's moments.
"""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from typing import Any

import attrs
import pytest
import trio

from trio_broker.client import Client, open_client
from trio_broker.errors import BrokerError
from trio_broker.testing.home import Home, lives
from trio_broker.wire import jsonrpc
from trio_broker.wire.jsonrpc import Message

ROUNDS = int(os.environ.get("TRIO_BROKER_KILL_ROUNDS", "6"))
SEED = int(os.environ.get("TRIO_BROKER_KILL_SEED", "0")) or random.randrange(1, 10**6)
LONGEST = 0.25  # seconds from the first prompt to the kill
Json = dict[str, Any]


@attrs.define(eq=False)
class Witness:
    """What a client was told before the broker was killed."""

    said: list[str] = attrs.field(factory=list)
    sure: list[str] = attrs.field(factory=list)  # said before a turn's end that was told
    ended: list[str] = attrs.field(factory=list)
    accepted: list[str] = attrs.field(factory=list)

    def hear(self, message: Message) -> None:
        if message.method == "session/update":
            update = jsonrpc.decode(message.params)["update"]
            if update["sessionUpdate"] == "agent_message_chunk":
                self.said.append(update["content"]["text"])
        elif message.method == "_trio_broker/event":
            event = jsonrpc.decode(message.params)
            if event["kind"] == "ended":
                self.ended.append(event["promptId"])
                self.sure = list(self.said)
        elif message.result is not None and b'"position"' in message.result:
            self.accepted.append(jsonrpc.decode(message.result)["promptId"])


async def work(client: Client, session: str, number: int) -> None:
    """Prompts, one behind the other, some of them acknowledged only, until the broker is gone."""
    for turn in range(100):
        id = f"{number}-{turn}"
        words = "; ".join(f"say {id}.{word}" for word in range(20))
        params: Json = {"sessionId": session, "prompt": [{"type": "text", "text": words}]}
        if turn % 3 == 0:
            await client.call("_trio_broker/submit", {**params, "promptId": id})
        else:
            meta = {"trio-broker": {"promptId": id}}
            await client.call("session/prompt", {**params, "_meta": meta})


async def one_round(home: Home, number: int, moment: float) -> tuple[Witness, list[int]]:
    """Work, and the kill in the midst of it; what was seen, and the processes that must be gone."""
    witness = Witness()
    async with open_client(home.socket, on_message=witness.hear) as client:
        opened = await client.call("_trio_broker/open", {"key": "k", "agent": "fake", "cwd": "/tmp"})
        status = await client.call("_trio_broker/status")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(until_gone, client, opened["sessionId"], number)
            await trio.sleep(moment)
            os.kill(status["pid"], signal.SIGKILL)
            await client.gone.wait()
    return witness, [status["pid"], *(session["pid"] for session in status["sessions"] if session["pid"])]


async def until_gone(client: Client, session: str, number: int) -> None:
    try:
        await work(client, session, number)
    except BrokerError:
        pass  # that is what this is about


async def log_since(home: Home, since: int) -> list[Json]:
    async with open_client(home.socket) as client:
        await client.call("_trio_broker/wait", {"key": "k", "until": "idle"})
        found: list[Json] = []
        while True:
            page = await client.call(
                "_trio_broker/events", {"key": "k", "since": since + len(found), "limit": 5000}
            )
            found += page["events"]
            if page["next"] > page["last"]:
                return found


def check(witness: Witness, log: list[Json], since: int) -> Counter[str]:
    assert [event["seq"] for event in log] == list(range(since, since + len(log))), "no hole, none twice"
    updates = [event["update"] for event in log if event["kind"] == "update"]
    said = [
        update["content"]["text"] for update in updates if update["sessionUpdate"] == "agent_message_chunk"
    ]
    assert max(Counter(said).values(), default=1) == 1, "no word twice"
    kept = [word for word in said if word in set(witness.sure)]
    assert kept == witness.sure, f"what was told is there, in order: {len(kept)} of {len(witness.sure)}"
    started = Counter(event["promptId"] for event in log if event["kind"] == "started")
    ended = Counter(event["promptId"] for event in log if event["kind"] == "ended")
    assert max(started.values(), default=1) == 1 and max(ended.values(), default=1) == 1
    assert set(witness.accepted) <= set(ended) and set(witness.ended) <= set(ended)
    return Counter(event["outcome"] for event in log if event["kind"] == "ended")


@pytest.mark.slow
async def test_b13_whatever_the_moment_of_the_kill_nothing_is_lost_and_nothing_is_left() -> None:
    rng, since, outcomes = random.Random(SEED), 1, Counter[str]()
    with trio.fail_after(60 + 10 * ROUNDS), Home() as home:
        for number in range(ROUNDS):
            assert home.run("up").returncode == 0
            witness, pids = await one_round(home, number, rng.uniform(0, LONGEST))
            assert home.run("up").returncode == 0
            assert [pid for pid in pids if lives(pid)] == [], "the new broker ends what the old one left"
            log = await log_since(home, since)
            outcomes += check(witness, log, since)
            since += len(log)
    print(f"seed {SEED}: {ROUNDS} kills, {since - 1} events, {dict(outcomes)}")
