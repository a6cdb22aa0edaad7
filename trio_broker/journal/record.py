"""The unit of a session's log: a run of numbered events, kept, journalled and read as one (DESIGN D6, D15).

Kinds and the members of their JSON objects:

    update    (not JSON: the agent's raw `session/update` lines)
    queued    promptId, author, position, prompt: a prompt waits; `durable` if it runs after a restart too; `policy` if
              it has one of its own. Again, with event (edited, moved) and by, when it says something else now, or
              stands elsewhere: then `order` has the ids of all that wait
    started   promptId, author, prompt, policy: the prompt went to the agent; editedBy
    ended     promptId, outcome (completed, cancelled, failed, unknown), stopReason, error, note
    ask       askId, method, title, params: the agent asks; reason: why, where a policy might have decided
    answer    askId, by, outcome, optionId, option, optionKind, title, after (seconds), note; by a policy or a rule: no
              askId, for nobody was asked. Outcomes: selected, cancelled; accept, decline, cancel; answered, error,
              refused; expired, withdrawn
    agent     event (started, exited, resumed), pid, how (exact, loaded, new), exitCode, signal, stderrTail
    session   event (opened, suspended, closed, settings), and what it is about
    note      text
    gap       from, to, why: events that could not be kept. Its numbers may be those very ones; then it can be cut, and
              says the same
"""

from __future__ import annotations

import attrs


@attrs.frozen
class Record:
    """`count` events from number `first` on, at `at` (seconds since the epoch).

    `data` of kind "update": whole lines, each with its newline, `count` of them. Of any other kind: one JSON object.
    `plain`: these updates are known to be such as every client can show; the journal does not keep that.
    """

    first: int
    count: int
    at: float
    kind: str
    data: bytes
    plain: bool = attrs.field(default=False, eq=False, repr=False)

    @property
    def last(self) -> int:
        return self.first + self.count - 1

    def slice_from(self, number: int) -> Record:
        """The part from `number` on, which is one of its numbers."""
        if number <= self.first:
            return self
        skipped = number - self.first
        if self.kind != "update":
            return Record(number, self.count - skipped, self.at, self.kind, self.data)
        start = 0
        for _ in range(skipped):
            start = self.data.index(b"\n", start) + 1
        return Record(number, self.count - skipped, self.at, self.kind, self.data[start:], self.plain)
