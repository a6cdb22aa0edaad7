"""Values of a TOML table: read strictly, and told with their dotted key when they do not fit."""

from __future__ import annotations

import enum
import shlex
from datetime import date
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_broker.config.validation import (
    InvalidValue,
    at_least,
    boolean,
    choice,
    command,
    dotted,
    drop_keys,
    integer,
    number,
    range_overrides,
    string,
    string_table,
    strings,
)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@attrs.frozen
class Table:
    name: str = ""
    count: int = at_least(1, 1)
    rest: float = at_least(0.5, 0, above=True)


words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)


@given(st.lists(words, min_size=1, max_size=4).filter(lambda found: bool(found[0])))
def test_a_command_is_the_same_as_a_string_and_as_an_array(argv: list[str]) -> None:
    assert command(shlex.join(argv), None) == command(argv, None) == tuple(argv)


@pytest.mark.parametrize("value", ["", " ", "''", [], [""], ["a", 1], ["a\0"], "a 'b", 3, None, {}])
def test_what_is_no_command_is_refused(value: object) -> None:
    with pytest.raises(InvalidValue, match="expected"):
        command(value, None)


@pytest.mark.parametrize(
    ("read", "value", "says"),
    [
        (string, "a\0", "a string, not a string 'a"),
        (integer, True, "a whole number, not a boolean True"),
        (integer, 1.0, "a whole number, not a number 1.0"),
        (number, "1", "a number, not a string '1'"),
        (boolean, 1, "true or false, not a whole number 1"),
        (boolean, date(2026, 1, 2), "true or false, not a date or time"),
        (strings, "ab", "an array of strings, not a string 'ab'"),
        (string_table, [], "a table, not an array"),
        (string_table, {"A=B": "x"}, "'A=B'"),
        (string_table, {"": "x"}, "''"),
    ],
)
def test_a_value_of_another_type_is_refused_with_what_it_is(read: Any, value: object, says: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        read(value, None)
    assert says in str(caught.value)


def test_a_choice_is_one_of_the_values() -> None:
    assert choice("red", Colour) is Colour.RED
    with pytest.raises(InvalidValue, match="one of red, blue, not a string 'RED'"):
        choice("RED", Colour)


@pytest.mark.parametrize(
    ("field", "value"),
    [("count", 0), ("count", 1.5), ("rest", 0), ("rest", float("inf")), ("rest", float("nan"))],
)
def test_a_number_out_of_its_range_is_refused(field: str, value: float) -> None:
    with pytest.raises(InvalidValue):
        range_overrides(Table)[field].struct_hook(value, None)


def test_only_fields_with_a_range_have_an_override() -> None:
    overrides = range_overrides(Table)
    assert overrides.keys() == {"count", "rest"}
    assert overrides["count"].struct_hook(1, None) == 1
    assert overrides["rest"].struct_hook(2, None) == 2.0


def test_a_key_that_is_not_bare_is_quoted() -> None:
    assert dotted("agents", "a-b_c", "a b", "") == 'agents.a-b_c."a b".""'


def test_values_are_dropped_and_the_tables_around_them_stay() -> None:
    raw: dict[str, Any] = {"a": {"b": 1, "c": 2}, "d": 3}
    assert drop_keys(raw, [("a", "b"), ("d",)]) and raw == {"a": {"c": 2}}
    assert not drop_keys(raw, [("x",), ("a", "x", "y")]) and raw == {"a": {"c": 2}}


def test_a_table_that_lacks_a_key_is_dropped_whole_and_once() -> None:
    raw: dict[str, Any] = {"agents": {"a": {"colour": 1}, "b": {"command": "x"}}}
    assert drop_keys(raw, [("agents", "a", "command"), ("agents", "a", "colour")])
    assert raw == {"agents": {"b": {"command": "x"}}}
