"""The base of every check: `Check`, the `Settings` of a run, and the `CheckContext` that each check receives."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import attrs
import trio

from trio_broker.testing.check.conversation import Conversation, Direction, Json
from trio_broker.testing.check.outcomes import Skipped, Untried
from trio_broker.testing.check.target import ProcessConversation, Program, Target

ACP = "https://agentclientprotocol.com/protocol/"
PROMPT = "Reply with one word: hello (fast)."
ASK = "Write the word ok into the file check.txt (fast).\nask write check.txt"
ELICIT = (
    "Ask me with your question tool, before anything else, which color I like: red, green or blue (fast).\n"
    "ask-user Which color?"
)
TERMINAL = "Run the command `echo ok` in a terminal (fast).\nask-terminal echo ok"
LONG = (
    "Write the numbers from one to five thousand in words, one on each line, and do not stop early; "
    "after that build the project.\nhang"
)
TURN_START = 2.0  # seconds within which a long turn is taken to have begun, whether it says something or not
TOO_SHORT = "the turn ended before it could be cancelled; give a longer one with --prompt-long"


@attrs.frozen
class Settings:
    """What a battery is to use. The five prompts work with the bundled agents, and mean the same to a model.

    `cwd`: of the sessions, which a model may write into. `timeout` bounds every single wait, `exit_within` the time
    from the end of stdin to the end of the process; `quiet` is how long something is listened for that must not come.
    All in seconds. `login`: the authentication method to use before session/new.
    """

    cwd: str
    prompt: str = PROMPT
    ask: str = ASK
    elicit: str = ELICIT
    terminal: str = TERMINAL
    long: str = LONG
    timeout: float = 30.0
    exit_within: float = 10.0
    quiet: float = 0.3
    login: str | None = None


@attrs.define(eq=False)
class CheckContext:
    """One check's place. What it opens is closed behind it; `conversations` keeps what was said."""

    target: Target
    settings: Settings
    conversations: list[Conversation] = attrs.field(factory=list)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Conversation, None]:
        """A new connection, on which nothing has been said."""
        async with self.target.open(self.settings.timeout) as conversation:
            self.conversations.append(conversation)
            yield conversation

    @asynccontextmanager
    async def ready(self, capabilities: Json | None = None) -> AsyncGenerator[Conversation, None]:
        """A new connection, after initialize and the login that was asked for; the client has these capabilities."""
        async with self.open() as conversation:
            await conversation.initialize(clientCapabilities=capabilities or {})
            if self.settings.login:
                await conversation.result("authenticate", {"methodId": self.settings.login})
            yield conversation

    @asynccontextmanager
    async def session(self, capabilities: Json | None = None) -> AsyncGenerator[Conversation, None]:
        """A new connection with a new session."""
        async with self.ready(capabilities) as conversation:
            await conversation.new_session(self.settings.cwd)
            yield conversation

    @asynccontextmanager
    async def program(self, *, session: bool) -> AsyncGenerator[ProcessConversation, None]:
        """The same where it matters that it is a process. Raises Skipped where it is none."""
        self.require_program()
        async with self.session() if session else self.ready() as conversation:
            assert isinstance(conversation, ProcessConversation)
            yield conversation

    def require_program(self) -> None:
        if not isinstance(self.target, Program):
            raise Skipped("only a program can be watched; aim at one with `-- COMMAND`")

    async def long_turn(self, conversation: Conversation) -> object:
        """Begin a turn that lasts; the id of its prompt. Raises Untried if it does not last."""
        prompt = await conversation.prompt(self.settings.long)
        await self.wait_turn_started(conversation, prompt)
        await self.wait_quiet()
        if self.answered(conversation, prompt):
            raise Untried(TOO_SHORT, "--prompt-long")
        return prompt

    async def wait_turn_started(self, conversation: Conversation, prompt: object) -> None:
        """Wait for a sign of the turn, or its end; a moment if it gives none."""
        since = len(conversation.frames)
        with trio.move_on_after(min(TURN_START, self.settings.timeout)):
            await conversation.wait_for(
                lambda: conversation.updates(since=since) or self.answered(conversation, prompt) or None,
                "sign of the turn",
            )

    @staticmethod
    def answered(conversation: Conversation, prompt: object) -> bool:
        return any(
            frame.direction is Direction.RECEIVED
            and isinstance(frame.message, dict)
            and "method" not in frame.message
            and frame.message.get("id") == prompt
            for frame in conversation.frames
        )

    async def wait_quiet(self) -> None:
        """Listen for a moment."""
        await trio.sleep(self.settings.quiet)


@attrs.frozen
class Check:
    """One behaviour. `run` tries it and returns a remark, or raises `CheckEnded`. `rule` is the page that requires it.

    A check with `judge` instead of `run` is a standing rule: it judges every conversation of all the others.
    `malformed`: the check sends bytes that no client sends, so standing rules do not judge its conversations.
    """

    id: str
    title: str
    rule: str
    run: Callable[[CheckContext], Awaitable[str]] | None = None
    judge: Callable[[Conversation], str] | None = None
    malformed: bool = False
