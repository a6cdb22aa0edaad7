"""`kill -9` of the daemon at random moments: what was told is in the log, once; what was accepted is done, once.

TRIO_BROKER_KILL_ROUNDS=200 makes it long; TRIO_BROKER_KILL_SEED repeats one run's moments.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
from collections import Counter
from contextlib import suppress
from typing import Any

import attrs
import pytest
import trio

from trio_broker.client import Client, open_client
from trio_broker.errors import BrokerError
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.jsonrpc import Message
from trio_broker.testing.processes.home import Home, is_running

pytestmark = pytest.mark.process

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
    told: dict[int, str] = attrs.field(factory=dict)  # what was told under which number
    next: int = 0

    def _note(self, what: str) -> None:
        self.told[self.next] = what
        self.next += 1

    def hear(self, message: Message) -> None:
        if message.method == "session/update":
            update = jsonrpc.decode(message.params)["update"]
            self._note(named({"kind": "update", "update": update}))
            if update["sessionUpdate"] == "agent_message_chunk":
                self.said.append(update["content"]["text"])
        elif message.method == "_trio_broker/event":
            event = jsonrpc.decode(message.params)
            if "seq" in event:
                self.next = event["seq"]
                self._note(named(event))
            if event["kind"] == "ended":
                self.ended.append(event["promptId"])
                self.sure = list(self.said)
        elif message.result is not None and b'"position"' in message.result:
            self.accepted.append(jsonrpc.decode(message.result)["promptId"])
        elif message.result is not None and b'"next"' in message.result:
            self.next = jsonrpc.decode(message.result)["next"]


def named(event: Json) -> str:
    """What an event is, by which it is told from another."""
    update = event.get("update") or {}
    words = (
        event.get("promptId"),
        event.get("event"),
        (update.get("content") or {}).get("text"),
        event.get("askId"),
    )
    return f"{event['kind']} {words}"


def numbers_of(events: list[Json], since: int) -> set[int]:
    """The numbers that events have, or a gap between them; each has to be there once."""
    gone = set[int]()
    for event in events:
        assert event["seq"] == since, (
            f"{event['seq']} came where {since} was due: one is missing or there twice"
        )
        since = (event["to"] if event["kind"] == "gap" else event["seq"]) + 1
        gone |= {*range(event["seq"], since)} if event["kind"] == "gap" else set()
    return gone


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
        await client.call("_trio_broker/attach", {"key": "k"})
        status = await client.call("_trio_broker/status")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(until_gone, client, opened["sessionId"], number)
            await trio.sleep(moment)
            os.kill(status["pid"], signal.SIGKILL)
            await client.disconnected.wait()
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
            page = await client.call("_trio_broker/events", {"key": "k", "since": since, "limit": 5000})
            found, since = found + page["events"], page["next"]
            if since > page["last"]:
                return found


def check(witness: Witness, log: list[Json], since: int) -> Counter[str]:
    gone, there = numbers_of(log, since), {event["seq"]: named(event) for event in log}
    for number, what in witness.told.items():
        assert number in gone or there[number] == what, f"{number} was told as {what}, and is {there[number]}"
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
    rng, since, events, outcomes = random.Random(SEED), 1, 0, Counter[str]()
    with trio.fail_after(60 + 10 * ROUNDS), Home() as home:
        for number in range(ROUNDS):
            assert home.run("up").returncode == 0
            witness, pids = await one_round(home, number, rng.uniform(0, LONGEST))
            assert home.run("up").returncode == 0
            assert [pid for pid in pids if is_running(pid)] == [], "the new broker ends what the old one left"
            log = await log_since(home, since)
            outcomes += check(witness, log, since)
            since, events = max(log[-1]["seq"], log[-1].get("to", 0)) + 1, events + len(log)
    print(f"seed {SEED}: {ROUNDS} kills, {events} events, {dict(outcomes)}")


@pytest.mark.slow
async def test_what_was_told_and_is_not_on_disk_is_a_gap_and_a_question_of_then_is_no_other_ones() -> None:
    """The disk is slow: another program holds the lock of the journal."""
    with trio.fail_after(60), Home() as home:
        assert home.run("up").returncode == 0
        witness, asked = Witness(), trio.Event()

        def hear(message: Message) -> None:
            witness.hear(message)
            if b'"kind":"ask"' in message.params:
                asked.set()

        async with open_client(home.socket, on_message=hear) as client, trio.open_nursery() as nursery:
            opened = await client.call("_trio_broker/open", {"key": "k", "agent": "fake", "cwd": "/tmp"})
            await client.call("session/prompt", prompt(opened, "say kept"))  # which is on disk now
            kept = (await client.call("_trio_broker/attach", {"key": "k"}))["next"] - 1
            with sqlite3.connect(home.path / "state" / "journal.sqlite", isolation_level=None) as lock:
                lock.execute("BEGIN IMMEDIATE")
                nursery.start_soon(
                    until_refused, client, prompt(opened, f"{'say told; ' * 20}ask may I edit x")
                )
                await asked.wait()
                os.kill((await client.call("_trio_broker/status"))["pid"], signal.SIGKILL)
                await client.disconnected.wait()
            lock.close()
        assert home.run("up").returncode == 0
        log = await log_since(home, kept + 1)
        lost = {number for number in witness.told if number > kept}
        assert lost <= numbers_of(log, kept + 1) and len(lost) > 20
        heard = await log_since(home, witness.next)
        assert [event["kind"] for event in heard] == ["gap"] and heard[0]["seq"] == witness.next
        id = f"1-{witness.next - 1}"
        assert id in witness.told[witness.next - 1]
        refused = home.run("allow", id)
        assert refused.returncode != 0 and f"ask {id} ended with a broker that died" in refused.stderr
        assert home.run("prompt", "-s", "k", "-a", "fake", "say new", cwd="/tmp").returncode == 0
        new = await log_since(home, heard[0]["to"] + 1)
        assert new and numbers_of(new, heard[0]["to"] + 1) == set()
        assert home.run("down").returncode == home.run("up").returncode == 0
        assert numbers_of(await log_since(home, heard[0]["to"] + 1), heard[0]["to"] + 1) == set(), (
            "no gap then"
        )


def prompt(opened: Json, text: str) -> Json:
    return {"sessionId": opened["sessionId"], "prompt": [{"type": "text", "text": text}]}


async def until_refused(client: Client, params: Json) -> None:
    with suppress(BrokerError):
        await client.call("session/prompt", params)
