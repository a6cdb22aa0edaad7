"""The words of the scripted agent, for its `--help`: what can stand in a prompt, and what each act does.

A module of its own, so that two hundred agents that are started in one test do not read it.
"""

from __future__ import annotations

HEAD = """\
python -m trio_broker.testing.agent [FLAG …]

A scripted ACP agent on stdin and stdout. The text of a prompt is what it does: acts with `;` or newlines between them,
such as `say hello; wait 1.5; ask edit it; die 3`. Other text is answered by `echo: TEXT`.
A `;` inside an argument is \\x3b in TEXT and \\u003b in JSON. A relative PATH is one of the session's directory.
A cancel ends an act and the turn at once, unless it says otherwise here. The agents in memory, of the fixture `broker`,
know of this: say, wait, hang, hang-hard, ask, die, close-stdout and late.
"""

ACTION_HELP = {
    "What it says": {
        "say TEXT, echo TEXT": "a piece of the answer",
        "think TEXT": "a thought",
        "plan": "a plan of three steps",
        "tool TITLE [SECONDS]": "a tool call that is quiet for so long; its kind is the title's first word, or execute",
        "usage [USED [SIZE]]": "tokens used, of how many",
        "title TEXT": "the session's title",
        "commands NAME …": "its slash commands are these",
        "mode ask|code": "it changes its mode by itself",
        "config small|large": "it changes its option `model` by itself",
        "env, fds, pid, cwd": "its environment, open files (JSON), process number, directory",
        "session, prompt": "the parameters of its session/new, of this session/prompt (JSON)",
        "capabilities": "the clientCapabilities of its initialize (JSON)",
        "tool-raw JSON": "a session/update with this object as the update",
    },
    "What it asks (and says what came back)": {
        "ask TITLE": "for a permission (allow, always, reject); nothing is announced",
        "collide [TITLE]": "the same, under the very id of the prompt",
        "string-id-ask [TITLE]": "the same, under an id that is a string",
        "ask-many N TITLE": "the same, N requests that are open together; says all answers at the end",
        "options JSON": "the options of the session's requests from now on: a list",
        "ask-by-id [KIND] TITLE": "a tool call (execute), then a request with its toolCallId alone",
        "ask-short TITLE": 'a tool call, then a request with the title "Bash" and no kind',
        "ask-as KIND KIND TITLE": "a tool call of the first kind, then a request that says the second",
        "ask-updated KIND KIND TITLE": "the same by an update, then a request with the toolCallId alone",
        "ask-raw JSON": "a request with this toolCall; an object without a toolCallId gets one",
        "ask-child TITLE": "a tool call, a request and updates, all of the session child-1",
        "ask-edit PATH TEXT": "with the diff, and writes the file on allow; TEXT has Python's escapes, as \\n",
        "ask-edit-by-id PATH TEXT": "the same; the diff is announced, and the request has the id alone",
        "ask-terminal CMD": "runs CMD in the client's terminal on allow; runs it unasked if there is none",
        "ask-user QUESTION": "red, green or blue: by a form, or by a permission request to a client without",
        "elicit": "for a name, by a form",
        "elicit-choice": "for one of three colors, by a form",
        "elicit-boolean": "for yes or no, by a form",
        "elicit-form": "for seven fields of all types, two of them required, some with defaults",
        "elicit-url URL": "to open it, and says that it is complete once that is accepted",
        "elicit-raw JSON": "with these params; a missing sessionId is added",
        "unknown-request": "something that no client knows, and says the error",
    },
    "What it does (and nobody was asked)": {
        "run CMD": "a shell runs it, as a tool call with its output; says the exit code",
        "edit PATH TEXT": "writes the file, as a tool call with the diff",
        "terminal CMD": "the client's terminal runs it; says the output and the exit code, or the error",
        "fs-read PATH": "the client reads the file; says its text, or the error",
        "fs-write PATH TEXT": "the client writes the file; says `written`, or the error",
    },
    "How long it takes": {
        "wait SECONDS": "says nothing for so long",
        "hang": "says nothing until it is cancelled",
        "hang-hard": "says nothing for ever, and hears no cancel",
        "ignore-cancel": "no cancel reaches the rest of this turn",
    },
    "What it writes": {
        "flood N [SIZE]": "N numbered pieces of SIZE characters each (100)",
        "big BYTES": "one line of that size",
        "dribble TEXT": "says it, one byte in a write",
        "raw TEXT": "these bytes as they are, with Python's escapes: raw {}\\n",
        "garbage": "a line that is no JSON",
        "bad-utf8": "a line that is no UTF-8",
        "stderr BYTES": "so much on stderr",
        "foreign": "an update of a session that is not this one",
        "wrong-id": "a response to nothing",
        "stale-reply": "a response to an earlier prompt, or to session/new, once more",
    },
    "How the turn ends": {
        "stop REASON": "with that stop reason: max_tokens, refusal, …",
        "error CODE TEXT": "at once, with that error",
        "double-reply": "is answered twice",
        "late N": "N pieces after the answer",
        "own-turn TEXT": "after it comes one that nobody asked for",
    },
    "How the process ends": {
        "die CODE": "exits in mid-turn",
        "exit CODE": "exits in the moment after its answer",
        "kill SIGNAL": "sends itself a signal: KILL, TERM, SEGV, STOP, 9",
        "close-stdout": "lives on without stdout",
        "deaf": "reads nothing more",
        "ignore-term": "heeds no SIGTERM from now on",
        "ignore-eof": "lives on after the end of stdin",
        "fork-child": "has a sleeping child in its group, and says its pid",
        "setsid-child": "the same, in a session of its own",
    },
}


def action_names() -> list[str]:
    """Every word by which an act begins."""
    entries = (entry for words in ACTION_HELP.values() for entry in words)
    return [usage.split()[0] for entry in entries for usage in entry.split(", ")]


def help_text(flags: dict[str, str]) -> str:
    """The whole help; `flags` by name, as `agent.FLAGS` has them."""
    parts = [HEAD]
    for title, entries in {**ACTION_HELP, "Flags": flags}.items():
        parts.append(f"{title}:")
        parts += [f"  {entry:<29} {what}" for entry, what in entries.items()]
        parts.append("")
    return "\n".join(parts).rstrip()
