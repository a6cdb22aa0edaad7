"""The play that `demo` shows: who is prompted when, and one line of output for each thing said."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

import attrs
import click
import psutil
import trio

from trio_broker.cli.events import EVENT, content_text, session_update
from trio_broker.cli.output import format_duration, safe
from trio_broker.cli.state import State
from trio_broker.client import Client, open_client
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.jsonrpc import Message

COLOURS = {"build": "33", "api": "36", "docs": "35", "late": "32", "broker": "1"}
PROMPTS = {
    "build": "build the project: 60 seconds without a word",
    "api": "give greet() a type",
    "docs": "explain greet() to a newcomer",
}
APPLY = {"outcome": {"outcome": "selected", "optionId": "apply"}}


async def run_demo(state: State) -> None:
    scenario = DemoScenario()
    async with open_client(
        state.paths.socket, on_message=scenario.on_message, on_request=scenario.on_request
    ) as client:
        scenario.client = client
        with tempfile.TemporaryDirectory(prefix="trio-broker-demo-") as cwd:
            scenario.cwd = cwd
            await scenario.run()
            await _stop_broker(scenario, client)


async def _stop_broker(scenario: DemoScenario, client: Client) -> None:
    pids = [session["pid"] for session in (await client.call("_trio_broker/status"))["sessions"]]
    await client.call("_trio_broker/shutdown")
    await client.disconnected.wait()
    left = [pid for pid in pids if psutil.pid_exists(pid)]
    scenario.print_line("broker", f"down: {len(pids)} agents ended, {len(left)} processes left behind")


@attrs.define(eq=False)
class DemoScenario:
    """The play, and who says what in it: one line of output for each thing said."""

    client: Client = attrs.field(init=False)
    cwd: str = ""
    names: dict[str, str] = attrs.field(factory=dict)
    text: dict[str, str] = attrs.field(factory=dict)
    tools: dict[str, str] = attrs.field(factory=dict)
    started_at: float = attrs.field(factory=trio.current_time)
    queued: trio.Event = attrs.field(factory=trio.Event)

    async def run(self) -> None:
        self.print_line("broker", "three agents start, all at once")
        async with trio.open_nursery() as nursery:
            for name in PROMPTS:
                nursery.start_soon(self.open, name)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.prompt, "build", PROMPTS["build"])
            async with trio.open_nursery() as others:
                others.start_soon(self.prompt, "api", PROMPTS["api"])
                others.start_soon(self.prompt, "docs", PROMPTS["docs"])
                others.start_soon(self.status_after, 3.0)
            await self.status()
            self.print_line("broker", "a new session opens while the build is at work")
            await self.open("late")
            await self.prompt("late", "fast: hello")
            await self.follow_up(nursery)

    async def status_after(self, seconds: float) -> None:
        await trio.sleep(seconds)
        await self.status()

    async def follow_up(self, nursery: trio.Nursery) -> None:
        """A prompt behind the build, then the cancel of the build, which lets it run."""
        nursery.start_soon(self.prompt, "build", "fast: and now the changelog")
        await self.queued.wait()
        await self.status()
        self.print_line("broker", "cancel the build: it takes no lock, so it gets through at once")
        await self.client.call("_trio_broker/cancel", {"sessionId": self.id_of("build")})

    def id_of(self, name: str) -> str:
        return next(id for id, found in self.names.items() if found == name)

    async def open(self, name: str) -> None:
        opened = await self.client.call("_trio_broker/open", {"key": name, "agent": "demo", "cwd": self.cwd})
        self.names[opened["sessionId"]] = name

    async def prompt(self, name: str, text: str) -> None:
        self.print_line(name, f"> {text}")
        blocks = [{"type": "text", "text": text}]
        result = await self.client.call("session/prompt", {"sessionId": self.id_of(name), "prompt": blocks})
        self.flush(name)
        self.print_line(name, f"[{result['stopReason']}]")

    async def status(self) -> None:
        before = trio.current_time()
        status = await self.client.call("_trio_broker/status")
        took = (trio.current_time() - before) * 1000
        self.print_line("broker", f"status, answered in {took:.1f} ms:")
        for view in status["sessions"]:
            queue = f", {view['queue']} queued" if view["queue"] else ""
            self.print_line(
                "broker",
                f"  {view['key']:6} {view['phase']:9} quiet for {format_duration(view['quiet_for'])}{queue}",
            )

    async def on_request(self, message: Message) -> object:
        """A permission question: in your terminal `trio-broker prompt` asks you; here the demo says yes."""
        request = jsonrpc.decode(message.params)
        self.print_line(
            self.names.get(message.session_id or "", "?"), f"[asks] {request['toolCall']['title']}?"
        )
        await trio.sleep(1)
        self.print_line(
            self.names.get(message.session_id or "", "?"), "[answer] Apply the change (the demo said so)"
        )
        return APPLY

    def on_message(self, message: Message) -> None:
        update, name = session_update(message), self.names.get(message.session_id or "", "")
        kind = update.get("sessionUpdate")
        if message.method == EVENT:
            self.event(jsonrpc.decode(message.params))
        elif kind == "agent_message_chunk":
            self.text[name] = self.text.get(name, "") + content_text(update.get("content"))
        elif kind in ("tool_call", "tool_call_update"):
            self.tool(name, update)

    def event(self, event: dict[str, Any]) -> None:
        if event["kind"] == "queued":
            self.print_line(self.names[event["sessionId"]], f"[queued] {event['position']} before this one")
            self.queued.set()

    def tool(self, name: str, update: dict[str, Any]) -> None:
        self.flush(name)
        id, status = update["toolCallId"], update.get("status", "")
        title = self.tools.setdefault(id, str(update.get("title", id)))
        if status in ("in_progress", "completed", "failed"):
            self.print_line(name, f"[tool] {title}: {status.replace('_', ' ')}")

    def flush(self, name: str) -> None:
        if text := self.text.pop(name, ""):
            self.print_line(name, text)

    def print_line(self, name: str, text: str) -> None:
        at = f"{trio.current_time() - self.started_at:5.1f}s"
        label = f"{name:6} |"
        if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
            label = f"\x1b[{COLOURS.get(name, '0')}m{label}\x1b[0m"
        click.echo(f"{at} {label} {safe(text)}")
