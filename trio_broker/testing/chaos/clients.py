"""Those who use the broker while it suffers: each comes, prompts, watches, cancels, leaves; and notes what it hears."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import trio

from trio_broker.client import Client, open_client, refuse_all
from trio_broker.errors import (
    BrokerError,
    BrokerGone,
    Draining,
    PoolFull,
    QueueFull,
    SessionOver,
    SpawnFailed,
)
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.extensions import META_KEY
from trio_broker.protocol.jsonrpc import Kind, Message
from trio_broker.testing.chaos.evidence import Evidence, Prompt, ReceivedLog

RETRY_PAUSE = 0.05  # seconds between two tries to reach a broker that is away
REFUSALS = (
    QueueFull,
    PoolFull,
    Draining,
    SpawnFailed,
    SessionOver,
)  # may come before the prompt was ever queued
MOST_WORDS = 12
ACTIONS = ["prompt"] * 5 + ["submit"] * 3 + ["cancel"] * 2 + ["watch", "status", "ask", "slow"]


@attrs.define(eq=False)
class SharedState:
    """The state that all clients share. `life` counts the broker's lives. `stopping` is set when no client is to begin
    anything more.
    """

    socket: Path
    keys: list[str]
    evidence: Evidence
    patience: float = 60.0
    life: int = 0
    stopping: trio.Event = attrs.field(factory=trio.Event)
    _number: int = 0

    def new_prompt(self, session: str, words: int) -> Prompt:
        self._number += 1
        prompt = Prompt(f"p{self._number}", session, words)
        self.evidence.prompts.append(prompt)
        return prompt


@attrs.define(eq=False)
class ChaosClient:
    shared: SharedState
    rng: random.Random
    connection: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _next: dict[str, int] = attrs.field(factory=dict)  # where to go on, by session
    _received: dict[str, ReceivedLog] = attrs.field(factory=dict)  # on this connection

    async def run(self) -> None:
        """Visit the broker again and again until it is over; cut by `connection.cancel()`, it comes back."""
        while not self.shared.stopping.is_set():
            with trio.CancelScope() as self.connection:
                await self._try_visit()
            await trio.sleep(RETRY_PAUSE)

    async def _try_visit(self) -> None:
        self._received = {}
        try:
            async with open_client(
                self.shared.socket, on_message=self._receive, on_request=self._answer
            ) as client:
                await self._visit(client)
        except* BrokerError:
            pass  # it was killed, or refuses: what that may mean for a prompt is written down where it happens
        except* OSError:
            pass

    async def _visit(self, client: Client) -> None:
        for _ in range(self.rng.randint(1, 8)):
            if self.shared.stopping.is_set():
                return
            opened = await self._call(
                client, "_trio_broker/open", key=self.rng.choice(self.shared.keys), cwd="/tmp"
            )
            session = opened["sessionId"]
            await self._attach(client, session)
            await getattr(self, f"_{self.rng.choice(ACTIONS)}")(client, session)

    async def _call(self, client: Client, method: str, **params: Any) -> Any:
        with trio.move_on_after(self.shared.patience):
            return await client.call(method, params)
        raise self._unanswered(method)

    def _unanswered(self, method: str) -> BrokerGone:
        why = f"{method} was not answered within {self.shared.patience:g} s"
        self.shared.evidence.unanswered.append(why)
        return BrokerGone(why)

    async def _attach(self, client: Client, session: str) -> None:
        if session not in self._received:
            await self._call(client, "_trio_broker/attach", sessionId=session, since=self._next.get(session))

    # What it does

    async def _prompt(
        self, client: Client, session: str, before: str = "", patience: float | None = None
    ) -> None:
        prompt = self.shared.new_prompt(session, self.rng.randint(1, MOST_WORDS))
        blocks = [{"type": "text", "text": before + prompt.text}]
        params = {"sessionId": session, "prompt": blocks, "_meta": {META_KEY: {"promptId": prompt.id}}}
        with trio.move_on_after(self.shared.patience if patience is None else patience) as waiting:
            try:
                result = await client.call("session/prompt", params)
            except BrokerGone:
                raise
            except REFUSALS:
                return
            except BrokerError:
                prompt.reply = "failed"
            else:
                prompt.reply = "cancelled" if result["stopReason"] == "cancelled" else "completed"
            prompt.accepted = True
        if waiting.cancelled_caught and patience is None:
            raise self._unanswered("session/prompt")

    async def _slow(self, client: Client, session: str) -> None:
        """A prompt that takes a while; whoever sent it does not stay to the end."""
        await self._prompt(client, session, f"wait {self.rng.uniform(0.1, 3):.2f}; ", self.rng.uniform(0, 1))

    async def _ask(self, client: Client, session: str) -> None:
        """A prompt that waits for a permission, for a while at most: then it is cancelled."""
        before = len(self.shared.evidence.prompts)
        await self._prompt(client, session, "ask may I; ", 2.0)
        if self.shared.evidence.prompts[before].reply is None:
            await self._cancel_it(client, self.shared.evidence.prompts[before])

    async def _submit(self, client: Client, session: str) -> None:
        await self.submit(client, session)

    async def submit(self, client: Client, session: str, garbage: Sequence[str] = ()) -> None:
        """Queue a prompt, and do not wait for what becomes of it; `{id}` in its `garbage` is its id."""
        prompt = self.shared.new_prompt(session, self.rng.randint(1, MOST_WORDS))
        prompt.garbage += [act.replace("{id}", prompt.id) for act in garbage]
        blocks = [{"type": "text", "text": prompt.text}]
        try:
            await self._call(
                client, "_trio_broker/submit", sessionId=session, promptId=prompt.id, prompt=blocks
            )
        except REFUSALS:
            return
        prompt.accepted = True

    async def _cancel(self, client: Client, session: str) -> None:
        mine = [prompt for prompt in self.shared.evidence.prompts[-50:] if prompt.session == session]
        if mine:
            await self._cancel_it(client, self.rng.choice(mine))

    async def _cancel_it(self, client: Client, prompt: Prompt) -> None:
        prompt.cancelled = True
        await self._call(client, "_trio_broker/cancel", sessionId=prompt.session, promptId=prompt.id)

    async def _watch(self, client: Client, session: str) -> None:
        await trio.sleep(self.rng.uniform(0, 0.5))

    async def _status(self, client: Client, session: str) -> None:
        await self._call(client, "_trio_broker/status")

    # What it hears

    def _receive(self, message: Message) -> None:
        if message.kind is Kind.RESPONSE:
            self._receive_view(message)
        elif message.method == "session/update":
            params = jsonrpc.decode(message.params)
            if received := self._received.get(params["sessionId"]):
                received.add_update(params.get("update"))
                self._next[received.session] = received.next
        elif message.method == "_trio_broker/event":
            event = jsonrpc.decode(message.params)
            if "seq" in event and (received := self._received.get(event["sessionId"])):
                received.add_event(event)
                self._next[received.session] = received.next

    def _receive_view(self, message: Message) -> None:
        """The answer to an `attach` says which number comes next, and everything after it is counted from there."""
        if message.result is not None and b'"next"' in message.result:
            view = jsonrpc.decode(message.result)
            received = ReceivedLog(view["sessionId"], self.shared.life, view["next"])
            self._received[received.session] = received
            self.shared.evidence.received.append(received)

    async def _answer(self, message: Message) -> object:
        if message.method != "session/request_permission":
            return await refuse_all(message)
        await trio.sleep(self.rng.uniform(0, 0.3))
        options = jsonrpc.decode(message.params)["options"]
        if not options:  # a rude agent's
            return {"outcome": {"outcome": "cancelled"}}
        return {"outcome": {"outcome": "selected", "optionId": self.rng.choice(options)["optionId"]}}


def create_clients(shared: SharedState, size: int, seed: int) -> Iterator[ChaosClient]:
    for number in range(size):
        yield ChaosClient(shared, random.Random(seed * 1000 + number))
