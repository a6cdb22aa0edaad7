"""Each check of turns, cancels and permission requests finds the fault that is planted for it."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from trio_broker.testing.check import Check, Program, Settings, Verdict, run, select_checks
from trio_broker.testing.check.suite import turns

AssertFound = Callable[[Check], Awaitable[None]]
AssertVerdict = Callable[[str, Verdict, str], Awaitable[None]]


@pytest.mark.parametrize("check", turns.CHECKS, ids=lambda check: check.id)
async def test_a_planted_fault_is_found(check: Check, assert_found: AssertFound) -> None:
    await assert_found(check)


@pytest.mark.parametrize(
    ("fault", "verdict", "words"),
    [
        ("ask.reject/asks-only", Verdict.FAIL, "the turn ended while its question was open"),
        ("ask.cancel/asks-only", Verdict.FAIL, "the turn ended while its question was open"),
        ("ask.reject/early", Verdict.FAIL, "was told as completed while its question was open"),
        ("ask.reject/does", Verdict.FAIL, "and the tool call was told as completed all the same"),
    ],
)
async def test_what_else_is_wrong_is_said_in_other_words(
    fault: str, verdict: Verdict, words: str, assert_verdict: AssertVerdict
) -> None:
    await assert_verdict(fault, verdict, words)


SOON = """
import json, sys
cancelled_with, held, turns = sys.argv[1], None, 0
def send(**message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    method, params, id = asked["method"], asked["params"], asked.get("id")
    if method == "initialize":
        send(id=id, result={"protocolVersion": 1})
    elif method == "session/new":
        send(id=id, result={"sessionId": "s"})
    elif method == "session/prompt":
        turns += 1
        held = id if cancelled_with and turns > 1 else None
        content = {"type": "text", "text": "hello"}
        update = {"sessionUpdate": "agent_message_chunk", "content": content}
        send(method="session/update", params={"sessionId": "s", "update": update})
        if held is None:
            send(id=id, result={"stopReason": "end_turn"})
    elif method == "session/cancel" and held and cancelled_with == "cancelled":
        send(id=held, result={"stopReason": "cancelled"})
        held = None
    elif id is not None:
        send(id=id, error={"code": -32601, "message": "Method not found"})
        if held:
            send(id=held, result={"stopReason": cancelled_with})
            held = None
"""


@pytest.mark.parametrize(
    ("cancelled_with", "verdict", "why", "option"),
    [
        ("cancelled", Verdict.PASS, "soon after its beginning", ""),
        (
            "end_turn",
            Verdict.FAIL,
            "the cancelled turn ended with end_turn, and it was running when the cancel was read",
            "",
        ),
        ("", Verdict.UNTRIED, "the turn ended before it could be cancelled", "--prompt-long"),
    ],
)
async def test_turns_that_do_not_last_are_cancelled_all_the_same(
    cancelled_with: str, verdict: Verdict, why: str, option: str, tmp_path: Path
) -> None:
    target = Program([sys.executable, "-c", SOON, cancelled_with])
    report = await run(target, Settings(str(tmp_path), quiet=0.1), select_checks(["cancel.turn"]))
    [result] = report.results
    assert (result.verdict, result.option) == (verdict, option) and result.why.startswith(why)
    assert report.needed_options() == ({option: ["cancel.turn"]} if option else {})
