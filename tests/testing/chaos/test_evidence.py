"""Each check of a chaos run finds its fault, planted into evidence that is otherwise without any."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from trio_broker.testing.chaos.evidence import Evidence, Prompt, ReceivedLog, violations

Json = dict[str, Any]


def said(number: int, text: str) -> Json:
    update = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}}
    return {"seq": number, "kind": "update", "update": update}


def log_of(prompt: str, words: int, outcome: str, first: int = 1) -> list[Json]:
    begun = {"seq": first, "kind": "started", "promptId": prompt}
    updates = [said(first + 1 + number, f"{prompt}.{number} ") for number in range(words)]
    ended = {"seq": first + words + 1, "kind": "ended", "promptId": prompt, "outcome": outcome}
    return [begun, *updates, ended]


def sound() -> Evidence:
    """A session in which two prompts went well, as one client saw that followed it."""
    prompts = [Prompt("p1", "s", 3, True, "completed"), Prompt("p2", "s", 2, True)]
    log = [*log_of("p1", 3, "completed"), *log_of("p2", 2, "completed", first=6)]
    received = ReceivedLog("s", 0, 1)
    for event in log:
        received.add_update(event["update"]) if event["kind"] == "update" else received.add_event(event)
    return Evidence(prompts, [received], {"s": log}, growth={"tasks": (20, 24)})


def renumber(log: list[Json]) -> None:
    for number, event in enumerate(log, 1):
        event["seq"] = number


def lose_a_number(evidence: Evidence) -> None:
    del evidence.logs["s"][2]


def lose_a_word(evidence: Evidence) -> None:
    evidence.received.clear()
    del evidence.logs["s"][2]
    renumber(evidence.logs["s"])


def lose_the_last_word(evidence: Evidence) -> None:
    evidence.received.clear()
    del evidence.logs["s"][3]
    renumber(evidence.logs["s"])


def repeat_a_word(evidence: Evidence) -> None:
    evidence.received.clear()
    evidence.logs["s"].insert(2, dict(evidence.logs["s"][2]))
    renumber(evidence.logs["s"])


def swap_words(evidence: Evidence) -> None:
    evidence.received.clear()
    log = evidence.logs["s"]
    log[1]["update"], log[2]["update"] = log[2]["update"], log[1]["update"]


def begin_twice(evidence: Evidence) -> None:
    evidence.logs["s"].append({"seq": 10, "kind": "started", "promptId": "p1"})


def end_twice(evidence: Evidence) -> None:
    evidence.logs["s"].append({"seq": 10, "kind": "ended", "promptId": "p1", "outcome": "completed"})


def never_end(evidence: Evidence) -> None:
    evidence.received.clear()
    del evidence.logs["s"][-1]


def tell_another_outcome(evidence: Evidence) -> None:
    evidence.prompts[0].reply = "failed"


def outcome_without_a_cause(outcome: str) -> Callable[[Evidence], None]:
    def plant(evidence: Evidence) -> None:
        evidence.received.clear()
        evidence.logs["s"][-1]["outcome"] = outcome

    plant.__name__ = outcome
    return plant


def tell_a_client_something_else(evidence: Evidence) -> None:
    evidence.received[0].events[3] = "update p1.9"


def skip_a_number_of_a_client(evidence: Evidence) -> None:
    evidence.received.append(ReceivedLog("s", 0, 4))
    evidence.received[1].add_event(evidence.logs["s"][4])


def leave_a_process(evidence: Evidence) -> None:
    evidence.leftovers.append("4711")


def forget_a_waiter(evidence: Evidence) -> None:
    evidence.unanswered.append("session/prompt was not answered within 60 s")


def leak_a_task(evidence: Evidence) -> None:
    evidence.growth["tasks"] = (25, 24)


def end_a_turn_too_early(evidence: Evidence) -> None:
    evidence.received.clear()
    log = evidence.logs["s"]
    log[3], log[4] = log[4], log[3]
    renumber(log)


def log_a_word_of_another_session(evidence: Evidence) -> None:
    evidence.logs["s"].append(said(10, "foreign p9"))


def log_a_word_in_another_session(evidence: Evidence) -> None:
    evidence.logs["t"] = [said(1, "p2.0")]


def move_a_late_word_into_its_turn(evidence: Evidence) -> None:
    evidence.received.clear()
    evidence.logs["s"].insert(2, said(3, "p1:late.0"))
    renumber(evidence.logs["s"])


def lose_a_late_word(evidence: Evidence) -> None:
    evidence.logs["s"].append(said(10, "p2:late.1"))


PLANTED = [
    (end_a_turn_too_early, "p1: completed, and 'update p1.2' came behind its end"),
    (log_a_word_of_another_session, "said in its name by another's agent"),
    (log_a_word_in_another_session, "p2: 'update p2.0' stands in the log of another session"),
    (move_a_late_word_into_its_turn, "p1: 'update p1:late.0' was said after its turn"),
    (lose_a_late_word, "p2: its late words came as [1]"),
    (lose_a_number, "number 4 where 3 is due"),
    (lose_a_word, "p1: its words came as [0, 2]"),
    (lose_the_last_word, "p1: completed with 2 of 3 words"),
    (repeat_a_word, "p1: its words came as [0, 1, 1, 2]"),
    (swap_words, "p1: its words came as [1, 0, 2]"),
    (begin_twice, "p1: started 2 times"),
    (end_twice, "p1: ended 2 times"),
    (never_end, "p2: ended 0 times"),
    (tell_another_outcome, "was told failed, its log says completed"),
    (outcome_without_a_cause("failed"), "nothing was done to its agent"),
    (outcome_without_a_cause("unknown"), "no broker was killed"),
    (outcome_without_a_cause("cancelled"), "nobody did"),
    (tell_a_client_something_else, "told 'update p1.9' as 3, the log has 'update p1.1'"),
    (skip_a_number_of_a_client, "event 5 came where 4 was due"),
    (leave_a_process, "left behind: 4711"),
    (forget_a_waiter, "session/prompt was not answered"),
    (leak_a_task, "tasks at rest: 25 (bound 24)"),
]


def test_sound_evidence_breaks_no_promise() -> None:
    assert violations(sound()) == []


@pytest.mark.parametrize(("plant", "words"), PLANTED, ids=lambda value: getattr(value, "__name__", ""))
def test_a_planted_fault_is_found(plant: Callable[[Evidence], None], words: str) -> None:
    evidence = sound()
    plant(evidence)
    assert any(words in violation for violation in violations(evidence)), violations(evidence)


def test_a_prompt_that_was_queued_again_before_it_was_sent_is_started_again_and_breaks_no_promise() -> None:
    evidence = sound()
    evidence.received.clear()
    log = evidence.logs["s"]
    log[:0] = [{"kind": kind, "promptId": "p1"} for kind in ("queued", "started", "queued")]
    renumber(log)
    assert violations(evidence) == []
    del log[2]  # its being queued again
    renumber(log)
    assert violations(evidence) == ["p1: started 2 times"]


def test_late_words_of_an_agent_and_what_is_no_update_break_no_promise() -> None:
    evidence = sound()
    evidence.logs["s"] += [said(10, "p2:late.0"), {"seq": 11, "kind": "update", "update": None}]
    evidence.received[0].add_update(None)
    evidence.received[0].events = {11: evidence.received[0].events.popitem()[1]}
    assert violations(evidence) == []


def test_a_number_that_was_told_and_is_lost_is_in_a_gap_and_never_another_events() -> None:
    evidence = sound()
    received = ReceivedLog("s", 0, 10)
    evidence.received.append(received)
    evidence.killed_lives.add(0)
    for _ in range(5):
        received.add_update(said(0, "p9.0")["update"])
    evidence.logs["s"].append({"seq": 10, "kind": "gap", "from": 10, "to": 30, "why": "it died"})
    assert violations(evidence) == []
    received.durable = 12
    assert "s: a client was told 'update p9.0' as 10, the log has 'gap it died'" in violations(evidence)
    received.durable = 9
    later = ReceivedLog("s", 1, 13)
    later.add_event({"seq": 13, "kind": "gap", "from": 13, "to": 30, "why": "it died"})
    later.add_event({"seq": 31, "kind": "note"})
    evidence.received.append(later)
    evidence.logs["s"].append({"seq": 31, "kind": "note"})
    assert violations(evidence) == [] and later.next == 32
    evidence.logs["s"][-2] = {"seq": 10, "kind": "note"}
    assert any("a client was told" in found for found in violations(evidence))
    assert any("number 31 where 11 is due" in found for found in violations(evidence))


def test_a_gap_that_a_client_was_told_says_why() -> None:
    evidence = sound()
    received = ReceivedLog("s", 0, 1)
    received.add_event({"seq": 1, "kind": "gap", "why": "the disk is full"})
    evidence.received.append(received)
    [found] = violations(evidence)
    assert "a client was told 'gap the disk is full' as 1" in found
