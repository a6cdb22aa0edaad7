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

from trio_broker.auth.call import CHANGES
from trio_broker.auth.policy import Policy
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

Object = dict[str, Any]
MEMBERS = ("toolCallId", "title", "kind", "status", "content", "locations", "rawInput", "rawOutput")
MAX_EARLIER = 3  # values of a member that were replaced
MAX_CLAIMS = 8  # kinds, and titles


@attrs.define(eq=False)
class ToolCall:
    """One tool call: its members as last announced, and every kind and title that the agent has claimed for it.

    `earlier`: input and diffs that were replaced. `unclear`: why the broker does not know all of the call, empty if it
    does. `turn`: the number of the turn that it belongs to. `asked`: the agent has requested permission for it.
    """

    members: Object = attrs.field(factory=dict)
    kinds: list[str] = attrs.field(factory=list)
    titles: list[str] = attrs.field(factory=list)
    earlier: list[Object] = attrs.field(factory=list)
    unclear: str = ""
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
        """Apply the members of an update; ACP: null means not changed. `size`: bytes of the line.

        An empty value, or one of a wrong type, does not replace a value: clients would show nothing in its place, and
        the announcement counts.
        """
        for name in MEMBERS:
            value, before = changes.get(name), self.members.get(name)
            if value is None or (before and (not value or not isinstance(value, type(before)))):
                continue
            if (
                before
                and value != before
                and (name == "rawInput" or (name == "content" and _shows_action(before)))
            ):
                self._keep_earlier({name: before})
            self.members[name] = value
        self.size = max(self.size, size)
        self.begun = self.begun or changes.get("status") in BEGUN
        self.claim(changes)

    def claim(self, changes: Object) -> None:
        """Note the kind and the title that a message gives the call."""
        for seen, value in ((self.kinds, changes.get("kind")), (self.titles, changes.get("title"))):
            if isinstance(value, str) and value and value not in seen:
                if len(seen) < MAX_CLAIMS:
                    seen.append(value)
                else:
                    self.unclear = f"the call had more than {MAX_CLAIMS} kinds or titles"

    def requested(self, tool_call: Object) -> ToolCall:
        """The whole call of a permission request: a copy, so that later updates do not change what is decided about."""
        whole = attrs.evolve(
            self,
            members=dict(self.members),
            kinds=[*self.kinds],
            titles=[*self.titles],
            earlier=[*self.earlier],
        )
        whole.update(tool_call, 0)
        return whole

    def _keep_earlier(self, members: Object) -> None:
        if len(self.earlier) < MAX_EARLIER:
            self.earlier.append(members)
        else:
            self.unclear = "the input of the call was changed several times"


def _shows_action(content: object) -> bool:
    items = content if isinstance(content, list) else []
    return any(isinstance(item, dict) and item.get("type") in ("diff", "terminal") for item in items)


@attrs.define(eq=False)
class ToolCalls:
    """The latest tool calls of a session, by the session id they came under and their own id.

    An id names a call only while that call is open: agents use constant ids, or begin to count in every turn. So an
    announcement under an id whose call has ended, or is of an earlier turn, begins another call. So does a request
    under the id of a call that has ended, or of an earlier turn, unless that call was announced and still waits for its
    request. A request adds its kind and title to the claims of a call, and nothing to its members: the next request
    under that id is about something else.
    """

    _calls: dict[tuple[str, str], ToolCall] = attrs.field(factory=dict)
    _unread: list[tuple[int, bytes]] = attrs.field(factory=list)
    _unread_bytes: int = 0
    _turn: int = 0
    _lost: int = -1  # the last turn of which a call was forgotten, or could not be read

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

        A call without an id, or with one that was not announced, has the request's members only.
        """
        self._read()
        call = self._find(session_id, tool_call)
        if call is None or call.ended or (call.turn != self._turn and not call.awaits_request):
            call = self._add(session_id, tool_call, self._turn)
            if self._lost >= self._turn or not isinstance(tool_call.get("toolCallId"), str):
                call.unclear = "the announcement of the call is not known any more, or could not be read"
        whole = call.requested(tool_call)
        call.claim(tool_call)
        call.turn, call.asked = self._turn, True
        return whole

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
        except BadMessage:  # no JSON that Python can hold; some client can
            self._lost = max(self._lost, turn)
            return
        update = params.get("update") if isinstance(params, dict) else None
        if not isinstance(update, dict) or update.get("sessionUpdate") not in (ANNOUNCED, CHANGED):
            return
        call = self._find(message.session_id, update)
        announced = update["sessionUpdate"] == ANNOUNCED
        if call is None or (announced and (call.ended or call.turn != turn)):
            call = self._add(message.session_id, update, turn)
        call.turn, call.announced = turn, call.announced or announced
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
            forgotten = self._calls.pop(oldest)
            total -= forgotten.size
            self._lost = max(self._lost, forgotten.turn)
