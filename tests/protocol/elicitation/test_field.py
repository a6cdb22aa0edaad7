"""One field of a form: what fits it, and what a person's words mean."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_broker.errors import Misuse
from trio_broker.protocol.elicitation.field import Field

COLORS = {"type": "string", "enum": ["red", "green"]}
TITLED = {"type": "string", "oneOf": [{"const": "r", "title": "Red"}, {"const": "g", "title": "Green"}]}
MANY = {"type": "array", "items": {"type": "string", "enum": ["a", "b", "c,d"]}, "minItems": 1, "maxItems": 2}


FAULTS = [
    (COLORS, "blue", "field 'x' expects one of red, green, not 'blue'"),
    (COLORS, True, "field 'x' expects one of red, green, not true"),
    (TITLED, "Red", "field 'x' expects one of r, g, not 'Red'"),
    ({"type": "boolean"}, "true", "field 'x' expects true or false, not 'true'"),
    ({"type": "boolean"}, 1, "field 'x' expects true or false, not 1"),
    ({"type": "integer", "minimum": 1, "maximum": 5}, 6, "field 'x' expects an integer from 1 to 5, not 6"),
    ({"type": "integer"}, 1.5, "field 'x' expects an integer, not 1.5"),
    ({"type": "integer"}, True, "field 'x' expects an integer, not true"),
    ({"type": "integer"}, 2**63, f"field 'x' expects an integer, not {2**63}"),
    ({"type": "integer"}, 10**400, "field 'x' expects an integer, not 1000"),
    ({"type": "number", "maximum": 1}, 10**400, "field 'x' expects a number of at most 1, not 1000"),
    ({"type": "integer", "enum": [1, 2]}, True, "field 'x' expects one of 1, 2, not true"),
    ({"type": "number", "minimum": 0.5}, 0, "field 'x' expects a number of at least 0.5, not 0"),
    ({"type": "number", "maximum": 2}, 2.5, "field 'x' expects a number of at most 2, not 2.5"),
    ({"type": "number"}, "2", "field 'x' expects a number, not '2'"),
    ({"type": "string"}, 3, "field 'x' expects a text, not 3"),
    ({"type": "string", "minLength": 1}, "", "field 'x' expects a text of at least 1 character, not ''"),
    ({"type": "string", "maxLength": 2}, "abc", "expects a text of up to 2 characters, not 'abc'"),
    ({"type": "string", "minLength": 2, "maxLength": 2}, "a", "expects a text of 2 characters, not 'a'"),
    ({"type": "string", "pattern": "^a+$"}, "ab", "expects a text that matches ^a+$, not 'ab'"),
    ({"type": "string", "format": "email"}, "me", "expects an e-mail address, not 'me'"),
    ({"type": "string", "format": "date"}, "2026-1-1", "expects a date like 2026-12-31, not '2026-1-1'"),
    ({"type": "string", "format": "date-time"}, "12:00", "expects a time like 2026-12-31T23:59:00Z"),
    ({"type": "string", "format": "uri"}, "a b", "expects a URI, not 'a b'"),
    (MANY, [], "field 'x' expects 1 to 2 values of a, b, c,d, not []"),
    (MANY, ["a", "b", "a"], "field 'x' expects 1 to 2 values"),
    (MANY, ["z"], "field 'x' expects 1 to 2 values of a, b, c,d, not [\"z\"]"),
    (MANY, "a", "field 'x' expects 1 to 2 values of a, b, c,d, not 'a'"),
    ({"type": "array"}, [1], "field 'x' expects any number of values, not [1]"),
    ({"type": "_new"}, {"a": 1}, "expects a text, a number, true, false, or a list of texts"),
    ({"type": "string"}, None, "field 'x' expects a text, not null"),
]


@pytest.mark.parametrize(("schema", "value", "says"), FAULTS)
def test_a_value_that_does_not_fit_names_the_field_and_what_fits(
    schema: dict[str, Any], value: object, says: str
) -> None:
    assert says in (Field("x", schema).fault(value) or "")


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (COLORS, "red"),
        (TITLED, "g"),
        ({"type": "boolean"}, False),
        ({"type": "integer", "minimum": 1, "maximum": 5}, 5),
        ({"type": "integer"}, 3.0),
        ({"type": "number"}, 3),
        ({"type": "string", "format": "email"}, "me@example.org"),
        ({"type": "string", "format": "date-time"}, "2026-11-30T12:00:00+01:00"),
        ({"type": "string", "format": "_new"}, "anything"),
        ({"type": "string", "pattern": "a+"}, "xxaxx"),
        ({"type": "string", "pattern": "(?=a)"}, "b"),  # no linear engine has it: the agent checks it
        ({"type": "string", "minLength": "many"}, ""),
        ({"enum": ["a"]}, "a"),
        (MANY, ["c,d", "a"]),
        ({"type": "array"}, ["x", "y"]),
        ({"type": "_new"}, ["x"]),
        ({}, 7),
    ],
)
def test_a_value_that_fits(schema: dict[str, Any], value: object) -> None:
    assert Field("x", schema).fault(value) is None


def test_a_pattern_that_backtracks_takes_no_time() -> None:
    begun = time.perf_counter()
    assert Field("x", {"type": "string", "pattern": "^(a|a)*$"}).fault("a" * 50_000 + "b") is not None
    assert time.perf_counter() - begun < 20  # an engine that backtracks takes longer than the universe has


@pytest.mark.parametrize(
    ("schema", "texts", "value"),
    [
        ({"type": "string"}, ["a=b, c"], "a=b, c"),
        ({"type": "integer"}, [" 7 "], 7),
        ({"type": "number"}, ["1e3"], 1000.0),
        ({"type": "boolean"}, ["No"], False),
        (COLORS, ["red"], "red"),
        (TITLED, ["Green"], "g"),
        (TITLED, ["g"], "g"),
        ({"type": "integer", "enum": [1, 2]}, ["2"], 2),
        (MANY, ["a,b"], ["a", "b"]),
        (MANY, ["a", "b"], ["a", "b"]),
        (MANY, ["c,d"], ["c,d"]),
        ({"type": "array"}, [""], []),
        ({"type": "_new"}, ["x"], "x"),
    ],
)
def test_the_words_of_a_person_become_values(schema: dict[str, Any], texts: list[str], value: object) -> None:
    found = Field("x", schema).parse(texts)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("schema", "texts", "says"),
    [
        ({"type": "integer"}, ["1_0"], "an integer, not '1_0'"),
        ({"type": "integer"}, ["true"], "an integer, not 'true'"),
        ({"type": "number"}, ["NaN"], "a number, not 'NaN'"),
        ({"type": "number"}, ["\ud800"], "a number"),
        ({"type": "boolean"}, ["1"], "true or false, not '1'"),
        (COLORS, ["Red"], "one of red, green"),
        ({"type": "string"}, ["a", "b"], "takes one value, and 2 were given"),
        (MANY, ["a,z"], "1 to 2 values of a, b"),
    ],
)
def test_words_that_do_not_fit_are_refused(schema: dict[str, Any], texts: list[str], says: str) -> None:
    with pytest.raises(Misuse) as caught:
        Field("x", schema).parse(texts)
    assert says in caught.value.message


numbers = st.integers(-5, 5) | st.floats(-5, 5, allow_nan=False)
texts = st.text("ab,", max_size=4)


def limits(*names: str, strategy: st.SearchStrategy[Any]) -> dict[str, st.SearchStrategy[Any]]:
    return dict.fromkeys(names, strategy)


sizes = st.integers(0, 4)
enums = st.lists(texts, min_size=1, max_size=3, unique=True)
schemas = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("string")}, optional=limits("minLength", "maxLength", strategy=sizes)
    ),
    st.fixed_dictionaries({"type": st.just("string"), "enum": enums}),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["integer", "number"])},
        optional=limits("minimum", "maximum", strategy=numbers),
    ),
    st.just({"type": "boolean"}),
    st.fixed_dictionaries(
        {
            "type": st.just("array"),
            "items": st.fixed_dictionaries({"type": st.just("string"), "enum": enums}),
        },
        optional=limits("minItems", "maxItems", strategy=sizes),
    ),
)


@given(schemas, st.lists(st.text(max_size=5), min_size=1, max_size=3))
def test_what_a_person_wrote_is_a_value_that_fits_or_an_error(
    schema: dict[str, Any], given_texts: list[str]
) -> None:
    field = Field("x", schema)
    try:
        value = field.parse(given_texts)
    except Misuse as error:
        assert "'x'" in error.message
    else:
        assert field.fault(value) is None
