"""The script of a prompt: its actions, with the patterns of their arguments."""

from __future__ import annotations

import re

NUMBER = r"\d+(\.\d+)?"
ACTIONS = {
    **dict.fromkeys(("say", "echo", "think", "ask"), r".+"),
    **dict.fromkeys(
        ("plan", "elicit", "hang", "hang-hard", "garbage", "bad-utf8", "wrong-id", "double-reply"), ""
    ),
    **dict.fromkeys(("close-stdout", "fork-child", "setsid-child", "stale-reply", "unknown-request"), ""),
    **dict.fromkeys(("ignore-eof", "ignore-cancel", "deaf"), ""),
    **dict.fromkeys(("title", "commands", "raw", "dribble", "own-turn"), r".+"),
    **dict.fromkeys(("foreign", "env", "fds", "pid", "cwd", "session", "prompt", "ignore-term"), ""),
    **dict.fromkeys(("collide", "string-id-ask"), r".*"),
    **dict.fromkeys(("big", "stderr", "die", "exit", "late"), r"\d+"),
    **dict.fromkeys(("ask-by-id", "ask-short", "ask-child", "ask-user", "ask-raw", "elicit-url"), r".+"),
    **dict.fromkeys(("run", "terminal", "ask-terminal", "fs-read"), r".+"),
    **dict.fromkeys(("elicit-choice", "elicit-boolean", "elicit-form", "capabilities"), ""),
    **dict.fromkeys(("edit", "ask-edit", "ask-edit-by-id", "fs-write"), r"\S+( .*)?"),
    **dict.fromkeys(("ask-as", "ask-updated"), r"\w+ +\w+ +.+"),
    **dict.fromkeys(("tool-raw", "elicit-raw"), r"\{.*\}"),
    "ask-many": r"\d+ +.+",
    "options": r"\[.*\]",
    "usage": r"(\d+( +\d+)?)?",
    "mode": r"ask|code",
    "config": r"small|large",
    "tool": r".+",
    "wait": NUMBER,
    "flood": r"\d+( +\d+)?",
    "kill": r"\d+|(?i:(SIG)?(KILL|TERM|INT|HUP|QUIT|STOP|ABRT|SEGV|PIPE|USR1))",
    "error": r"-?\d+ .+",
    "stop": r"\w+",
}


def parse(text: str) -> list[tuple[str, str]]:
    """Word and argument of each action of a prompt. Other text becomes a `say` with "echo: " before it."""
    pieces = [piece.strip() for piece in text.replace("\n", ";").split(";")]
    actions = [(_action(piece), piece) for piece in pieces if piece]
    if not any(action for action, _ in actions):
        return [("say", f"echo: {text}")]
    return [action or ("say", f"echo: {piece}") for action, piece in actions]


def _action(piece: str) -> tuple[str, str] | None:
    word, _, rest = piece.partition(" ")
    pattern = ACTIONS.get(word)
    if pattern is None or not re.fullmatch(pattern, rest.strip()):
        return None
    return word, rest.strip()
