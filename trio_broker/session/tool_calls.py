"""The tool calls of one session as its agent has announced them, for the permission requests that refer to them.

The tool call of a permission request is an update (ACP, session/request_permission: `toolCall` is a ToolCallUpdate).
It can leave out every member that did not change since the announcement, and real agents do: one sends only the id,
another an id and the title "Bash". A decision about the request alone is a decision about half of the call. So the
request is merged with the announcement and its updates, for policies and for people alike.

Updates pass the broker in blocks that no code of ours reads (DESIGN D15). Blocks that may contain a tool call are kept
here unread and read when a request refers to one, or when a turn ends. Memory is bounded: MAX_UNREAD bytes of blocks,
then MAX_CALLS calls of MAX_BYTES in all, of which the oldest go first. A call that is not found any more has no
announcement: rules then judge the request by its own members, and cannot tell what it leaves out.
"""

from __future__ import annotations

from typing import Any

import attrs

from trio_broker.auth.policy import CHANGES, Policy
from trio_broker.errors import BadMessage
from trio_broker.protocol import jsonrpc

MAX_UNREAD = 256 * 1024  # bytes of blocks: they are read in some milliseconds
MAX_CALLS = 256
MAX_BYTES = 4 * 1024 * 1024  # of the lines that announced or changed the calls
ANNOUNCED = "tool_call"
CHANGED = "tool_call_update"
MARKS = (b"toolCallId", b"\\u")  # a member's name can be written with escapes
ENDED = ("completed", "failed")
BEGUN = ("in_progress", *ENDED)
ACTIONS = CHANGES | {"execute"}  # the kinds that a policy other than approve-all is about
MAX_TITLES, MAX_TITLE = 5, 100  # in a note; characters
NOT_MERGED = ("sessionUpdate", "_meta")  # they belong to the message, not to the tool call

Object = dict[str, Any]


@attrs.define(eq=False)
class ToolCall:
    """One tool call: its members as last set, and every kind and title that it had, in their order.

    `turn`: the number of the turn in which it was announced. `asked`: the agent has requested permission for it.
    """

    members: Object = attrs.field(factory=dict)
    kinds: list[str] = attrs.field(factory=list)
    titles: list[str] = attrs.field(factory=list)
    turn: int = 0
    announced: bool = False
    asked: bool = False
    begun: bool = False
    size: int = 0

    @property
    def ended(self) -> bool:
        return self.members.get("status") in ENDED

    @property
    def awaits_request(self) -> bool:
        """A request of a later turn can be about it: it was announced, and nothing has come of it yet."""
        return self.announced and not self.asked and not self.ended

    def update(self, changes: Object, size: int) -> None:
        """Apply the members of an update; ACP: null means not changed. `size`: bytes of the line."""
        self.members |= {
            name: value for name, value in changes.items() if value is not None and name not in NOT_MERGED
        }
        self.size = max(self.size, size)
        self.begun = self.begun or changes.get("status") in BEGUN
        for seen, value in ((self.kinds, changes.get("kind")), (self.titles, changes.get("title"))):
            if isinstance(value, str) and value not in seen:
                seen.append(value)


@attrs.define(eq=False)
class ToolCalls:
    """The latest tool calls of a session, by the session id they came under and their own id.

        An id names a call only while that call is open: agents use constant ids, or begin to count in every turn. So an
    announcement under an id whose call has ended, or is of an earlier turn, begins another call. So does a request
    under an id of an earlier turn, unless its call was announced and still waits for its request.
    """

    _calls: dict[tuple[str, str], ToolCall] = attrs.field(factory=dict)
    _unread: list[tuple[int, bytes]] = attrs.field(factory=list)
    _unread_bytes: int = 0
    _turn: int = 0

    def add_updates(self, lines: bytes) -> None:
        """Keep whole lines, each a `session/update`, if any of them may be about a tool call."""
        if not any(mark in lines for mark in MARKS):
            return
        self._unread.append((self._turn, lines))
        self._unread_bytes += len(lines)
        if self._unread_bytes > MAX_UNREAD:
            self._read()

    def add_request(self, session_id: str | None, tool_call: Object) -> ToolCall:
        """The whole tool call of a permission request; `session_id`: the agent's name for the session it came under.

        A call without an id, or with one that was not announced, has the request's members only. The result is a copy:
        later updates do not change what is decided about.
        """
        self._read()
        call = self._find(session_id, tool_call)
        if call is None or (call.turn != self._turn and not call.awaits_request):
            call = self._add(session_id, tool_call, self._turn)
        call.update(tool_call, len(jsonrpc.encode(tool_call)))
        call.asked = True
        return attrs.evolve(call, members=dict(call.members), kinds=[*call.kinds], titles=[*call.titles])

    def end_turn(self, policy: Policy) -> str | None:
        """End a turn, after which ids can be used again; a sentence about its actions that nobody was asked about.

        None if no command and no change began without a permission request, or if the policy approves everything. A
        policy decides about requests only: an agent that does not send them, by its own settings or by its nature, is
        not held back.
        """
        calls = self._unasked() if policy is not Policy.APPROVE_ALL else []
        self._turn += 1
        if not calls:
            return None
        titles = [
            call.titles[-1][:MAX_TITLE] if call.titles else call.kinds[-1] for call in calls[:MAX_TITLES]
        ]
        more = f" and {len(calls) - MAX_TITLES} more" if len(calls) > MAX_TITLES else ""
        return (
            f"the agent ran or changed something without asking, under the policy {policy.value!r}: "
            f"{', '.join(repr(title) for title in titles)}{more}"
        )

    def _unasked(self) -> list[ToolCall]:
        self._read()
        return [
            call
            for call in self._calls.values()
            if call.turn == self._turn and call.begun and not call.asked and ACTIONS.intersection(call.kinds)
        ]

    def _read(self) -> None:
        unread, self._unread, self._unread_bytes = self._unread, [], 0
        for turn, lines in unread:
            for line in lines.rstrip(b"\n").split(b"\n"):
                if any(mark in line for mark in MARKS):
                    self._read_line(turn, line)
        self._forget_oldest()

    def _read_line(self, turn: int, line: bytes) -> None:
        try:
            message = jsonrpc.parse_envelope(line)
            params = jsonrpc.decode(message.params)
        except BadMessage:
            return
        update = params.get("update") if isinstance(params, dict) else None
        if not isinstance(update, dict) or update.get("sessionUpdate") not in (ANNOUNCED, CHANGED):
            return
        call = self._find(message.session_id, update)
        announced = update["sessionUpdate"] == ANNOUNCED
        if call is None or (announced and (call.ended or call.turn != turn)):
            call = self._add(message.session_id, update, turn)
        call.announced = call.announced or announced
        call.update(update, len(line))

    def _find(self, session_id: str | None, tool_call: Object) -> ToolCall | None:
        """The call of that id, which is then the last one to be forgotten."""
        id = tool_call.get("toolCallId")
        if not isinstance(id, str) or (call := self._calls.pop((session_id or "", id), None)) is None:
            return None
        self._calls[session_id or "", id] = call
        return call

    def _add(self, session_id: str | None, tool_call: Object, turn: int) -> ToolCall:
        """A new call; one without an id is not kept, for nothing can refer to it."""
        call = ToolCall(turn=turn)
        id = tool_call.get("toolCallId")
        if isinstance(id, str):
            self._calls.pop((session_id or "", id), None)
            self._calls[session_id or "", id] = call
        return call

    def _forget_oldest(self) -> None:
        total = sum(call.size for call in self._calls.values())
        while len(self._calls) > MAX_CALLS or (total > MAX_BYTES and len(self._calls) > 1):
            oldest = next(iter(self._calls))
            total -= self._calls.pop(oldest).size
