"""Permission questions on a terminal: the request, the options that the agent gave, and single keys as the answer.

Questions are asked one after the other. The person sees what the agent would do above the choices. Keys that were
typed before a question appeared, or in the half second after that, answer nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import attrs
import trio

from trio_broker.cli.output import print_stderr, safe
from trio_broker.errors import RemoteError
from trio_broker.protocol import jsonrpc
from trio_broker.protocol.jsonrpc import Message

FindAsks = Callable[[], Awaitable[list[dict[str, Any]]]]

if TYPE_CHECKING:
    from trio_broker.cli.permissions.keyboard import Keyboard
    from trio_broker.cli.permissions.question import Choice


@attrs.define(eq=False)
class Questions:
    """Asks the person at the terminal. `is_open`: a question waits for a key.

    `covered`: other output has been written below the question. The next key then shows it again, and answers nothing.
    """

    is_open: bool = False
    covered: bool = False
    _turn: trio.Lock = attrs.field(factory=trio.Lock, init=False)

    async def answer(self, message: Message, asks: FindAsks) -> dict[str, Any]:
        """Answer a permission request, or an elicitation. Cancelled when the answer is not needed any more.

        `asks` returns the questions of the session that wait: the broker knows more of them than the request says.
        Raises RemoteError for another request, and when the person leaves the answer to others.
        """
        if message.method == "elicitation/create":
            return await self._answer_elicitation(jsonrpc.decode(message.params))
        if message.method != "session/request_permission":
            raise RemoteError(jsonrpc.METHOD_NOT_FOUND, f"Method not found: {message.method}")
        # Late: most prompts ask nothing.
        from trio_broker.cli.permissions.question import choices_of
        from trio_broker.protocol import acp
        from trio_broker.protocol.codec import structure

        request = structure(message.params, acp.RequestPermissionRequest)
        choices = choices_of([(option.option_id, option.name, option.kind) for option in request.options])
        ask = _matching_ask(jsonrpc.decode(message.params), await asks())
        async with self._turn:
            chosen = await self._ask(ask, choices)
        if chosen == "leave":
            id = safe(str(ask.get("askId") or "ID"))
            print_stderr(f"  (not answered here; `trio-broker allow {id}` or `deny {id}` answers it)")
            raise RemoteError(jsonrpc.INTERNAL_ERROR, "the person at the terminal has not answered")
        return {"outcome": acp.CANCELLED if isinstance(chosen, str) else acp.selected(chosen.id)}

    async def _answer_elicitation(self, params: dict[str, Any]) -> dict[str, Any]:
        from trio_broker.cli.permissions.form import answer_elicitation  # late, as above

        async with self._turn:
            self.is_open = True
            try:
                return await answer_elicitation(params)
            finally:
                self.is_open = False

    async def _ask(self, ask: dict[str, Any], choices: list[Choice]) -> Choice | str:
        """The choice, "dismiss" or "leave"."""
        from trio_broker.cli.permissions.keyboard import Keyboard, in_foreground

        if not in_foreground(sys.stdin.fileno()):
            print_stderr(
                "[permission] the agent asks; bring this job to the foreground (`fg`) to answer here"
            )
        chosen: Choice | str | None = None
        self.is_open = self.covered = True  # nothing of it has been shown yet
        try:
            async with Keyboard.open(sys.stdin.fileno(), self._cover) as keyboard:
                chosen = await self._read_choice(keyboard, ask, choices)
            return chosen
        finally:
            self.is_open = False
            print_stderr(_result(chosen))

    async def _read_choice(
        self, keyboard: Keyboard, ask: dict[str, Any], choices: list[Choice]
    ) -> Choice | str:
        from trio_broker.cli.permissions.question import KeyReader, first_screen
        from trio_broker.cli.permissions.screen import has_colours, terminal_size
        from trio_broker.client.request_text import request_lines

        lines, keys = request_lines(ask), KeyReader(choices)
        while True:
            if self.covered:
                self.covered = False
                rows = first_screen(
                    lines, choices, *terminal_size(sys.stderr), colour=has_colours(sys.stderr)
                )
                _write("\n".join(("\n[permission] the agent asks:", *rows, "")))
                await keyboard.discard_early_keys()
                _write(keys.prompt)
            data = await keyboard.read()
            read = "repeat" if self.covered and data else keys.read(data)
            if read == "view":
                await self._view(keyboard, ask, choices)
            elif read == "ask":
                _write(f"\r\x1b[K{keys.prompt}")
            elif read is not None and read != "repeat":
                return read
            self.covered |= read in ("view", "repeat")

    async def _view(self, keyboard: Keyboard, ask: dict[str, Any], choices: list[Choice]) -> None:
        """All of the request, in the pager."""
        from trio_broker.cli.permissions import pager
        from trio_broker.cli.permissions.question import whole_text
        from trio_broker.cli.permissions.screen import has_colours, terminal_size
        from trio_broker.client.request_text import request_lines

        columns, _ = terminal_size(sys.stderr)
        text = whole_text(request_lines(ask, whole=True), choices, columns, colour=has_colours(sys.stderr))
        async with keyboard.lent():
            _write("\n")
            if not await pager.show_async(text):
                _write(text)

    def _cover(self) -> None:
        self.covered = True


def _matching_ask(params: dict[str, Any], asks: list[dict[str, Any]]) -> dict[str, Any]:
    """The ask of a request; without one that fits, which others can have answered meanwhile, the request itself.

    The whole tool calls are compared: agents give one id to several calls, and the person must not see another one.
    """
    call = params["toolCall"]
    return next((ask for ask in asks if ask.get("toolCall") == call), {"toolCall": call})


def _result(chosen: Choice | str | None) -> str:
    """What stands behind the keys when the question is closed."""
    if chosen is None:
        return "\n  (no answer is needed any more)"
    return chosen if isinstance(chosen, str) else safe(chosen.kind.replace("_", " "))


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
