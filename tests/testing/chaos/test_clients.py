"""The clients of a chaos run: their prompts are numbered, and a seed repeats what they draw."""

from __future__ import annotations

from pathlib import Path

from trio_broker.testing.chaos.clients import SharedState, create_clients
from trio_broker.testing.chaos.evidence import Evidence


def test_every_prompt_has_an_id_of_its_own_and_is_evidence() -> None:
    shared = SharedState(Path("x"), ["k"], Evidence())
    prompts = [shared.new_prompt("s", words) for words in (1, 3)]
    assert [prompt.id for prompt in prompts] == ["p1", "p2"] and shared.evidence.prompts == prompts
    assert prompts[1].text == "say p2.0; say p2.1; say p2.2"


def test_a_seed_repeats_what_clients_draw() -> None:
    shared = SharedState(Path("x"), ["k"], Evidence())
    one, same, other = (
        [client.rng.random() for client in create_clients(shared, 3, seed)] for seed in (1, 1, 2)
    )
    assert one == same != other and len(set(one)) == 3
