"""Garbage of an agent is made of actions of the scripted agent, and repeats with its seed."""

from __future__ import annotations

import random
import re

from trio_broker.testing.chaos.evidence import Prompt
from trio_broker.testing.chaos.garbage import garbage
from trio_broker.testing.scripted_agent.script import ACTIONS


def test_garbage_comes_between_the_words_and_none_of_it_is_cut_in_two() -> None:
    acts = garbage("s", "t", random.Random(1))
    assert acts == garbage("s", "t", random.Random(1)) != garbage("s", "t", random.Random(2))
    prompt = Prompt("p1", "s", 2, garbage=acts)
    pieces = prompt.text.split("; ")
    assert sorted(pieces) == sorted([*acts, "say p1.0", "say p1.1"]) and pieces[0] == "say p1.0"


def test_every_piece_of_garbage_is_an_act_of_the_scripted_agent() -> None:
    every = {act for seed in range(300) for act in garbage("s", "t", random.Random(seed))}
    assert len(every) > 50
    for act in every:
        word, _, rest = act.partition(" ")
        assert ";" not in act and re.fullmatch(ACTIONS[word], rest.strip()), act
