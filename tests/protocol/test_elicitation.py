"""Forms: what fits a field, what a person's words mean, and one choice as a permission request."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from trio_broker.errors import Misuse
from trio_broker.protocol.elicitation import Field, Form, option_id

COLORS = {"type": "string", "enum": ["red", "green"]}
TITLED = {"type": "string", "oneOf": [{"const": "r", "title": "Red"}, {"const": "g", "title": "Green"}]}
MANY = {"type": "array", "items": {"type": "string", "enum": ["a", "b", "c,d"]}, "minItems": 1, "maxItems": 2}


def form(*required: str, **properties: object) -> Form:
    return Form.of({"type": "object", "properties": properties, "required": list(required)})


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
    with pytest.raises(Misuse) as caught:
        form(x=schema).check({"x": value})
    assert says in caught.value.message and caught.value.details["field"] == "x"


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
    form(x=schema).check({"x": value})


def test_a_required_field_and_an_unknown_one_are_named() -> None:
    asked = form("age", age={"type": "integer"}, name={"type": "string"})
    with pytest.raises(Misuse, match="field 'age' is required: an integer"):
        asked.check({"name": "x"})
    with pytest.raises(Misuse, match="has no field 'nam'; its fields are age, name"):
        asked.check({"age": 1, "nam": "x"})
    form().check({"anything": "goes"})
    with pytest.raises(Misuse, match="field 'a' expects"):
        form().check({"a": {}})


def test_a_pattern_that_backtracks_takes_no_time() -> None:
    begun = time.perf_counter()
    with pytest.raises(Misuse):
        form(x={"type": "string", "pattern": "^(a|a)*$"}).check({"x": "a" * 50_000 + "b"})
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


def test_a_form_as_it_stands_has_the_defaults_that_fit() -> None:
    asked = form(
        "a",
        "b",
        a={"type": "string", "default": "x"},
        b={"type": "integer", "default": "not one"},
        c={"type": "boolean", "default": False},
        d={"type": "string"},
    )
    assert asked.defaults() == {"a": "x", "c": False}
    assert [field.name for field in asked.unset()] == ["b"]
    assert asked.summary().splitlines() == [
        "  a: a text [x], required",
        "  b: an integer, required",
        "  c: true or false [false]",
        "  d: a text",
    ]


ONE_CHOICE = [
    (COLORS, ["red", "green", "decline"], ["red", "green", "Decline"]),
    (TITLED, ["r", "g", "decline"], ["Red", "Green", "Decline"]),
    ({"type": "boolean"}, ["true", "false", "decline"], ["Yes", "No", "Decline"]),
    ({"enum": ["decline", "_decline"]}, ["decline", "_decline", "__decline"], None),
    ({"type": "integer", "enum": [1, 2]}, ["1", "2", "decline"], None),
    ({"type": "string", "enum": ["a", "a"]}, ["a", "decline"], None),
    ({"type": "string", "enum": ["a"], "enumNames": ["A"]}, ["a", "decline"], ["A", "Decline"]),
]


@pytest.mark.parametrize(("schema", "ids", "names"), ONE_CHOICE)
def test_a_single_choice_has_its_values_as_options(
    schema: dict[str, Any], ids: list[str], names: list[str] | None
) -> None:
    asked = form(x=schema)
    assert [option["optionId"] for option in asked.options] == ids
    if names is not None:
        assert [option["name"] for option in asked.options] == names
    assert [option["kind"] for option in asked.options] == ["allow_once"] * (len(ids) - 1) + ["reject_once"]
    assert asked.content_of(ids[-1]) is None
    for id in ids[:-1]:
        content = asked.content_of(id)
        assert content is not None and option_id(content["x"]) == id
        asked.check(content)


@pytest.mark.parametrize(
    "asked",
    [
        form(),
        form(x={"type": "string"}),
        form(x=MANY),
        form(x=COLORS, y={"type": "string"}),
        form(x={"type": "string", "enum": []}),
        form(x={"enum": [1, "1"]}),  # two values under one id
        Form.of(None),
        Form.of({"properties": []}),
        Form.of({"properties": {"x": 5}, "required": 5}),
    ],
)
def test_any_other_form_has_no_options(asked: Form) -> None:
    assert asked.options == []


def test_a_single_choice_explains_itself_in_its_tool_call() -> None:
    schema = {
        "title": "Pick",
        "description": "a color",
        "properties": {
            "x": {
                "type": "string",
                "description": "for the wall",
                "oneOf": [{"const": "r", "title": "Red", "description": "loud"}],
            }
        },
    }
    assert Form.of(schema).as_tool_call("e-1", "Which?") == {
        "toolCallId": "e-1",
        "title": "Which?",
        "kind": "other",
        "status": "pending",
        "content": [
            {"type": "content", "content": {"type": "text", "text": "Pick\na color\nfor the wall\nRed: loud"}}
        ],
    }
    assert "content" not in form(x=COLORS).as_tool_call("e-1", "Which?")


# Any schema, any value

numbers = st.integers(-5, 5) | st.floats(-5, 5, allow_nan=False)
texts = st.text("ab,", max_size=4)
values = st.none() | st.booleans() | numbers | texts | st.lists(texts, max_size=3)


def limits(*names: str, strategy: st.SearchStrategy[Any]) -> dict[str, st.SearchStrategy[Any]]:
    return dict.fromkeys(names, strategy)


sizes = st.integers(0, 4)
enums = st.lists(texts, min_size=1, max_size=3, unique=True)
fields = st.one_of(
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
schemas = st.fixed_dictionaries(
    {
        "type": st.just("object"),
        "properties": st.dictionaries(st.sampled_from("xyz"), fields),
        "required": st.lists(st.sampled_from("xyz")),
    }
)


@given(schemas, st.dictionaries(st.sampled_from("xyz"), values))
def test_a_form_takes_just_what_its_schema_says(schema: dict[str, Any], content: dict[str, Any]) -> None:
    properties = schema["properties"]
    schema = schema | {"required": [name for name in schema["required"] if name in properties]}
    strict = schema | ({"additionalProperties": False} if properties else {})
    expected = Draft202012Validator(strict).is_valid(content)
    if not properties and any(value is None for value in content.values()):
        expected = False  # ACP carries no null
    try:
        Form.of(schema).check(content)
    except Misuse as error:
        assert not expected, error.message
    else:
        assert expected


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
words = st.sampled_from(
    ["type", "properties", "required", "enum", "oneOf", "anyOf", "const", "items", "minimum", "maxLength"]
    + ["default", "title", "description", "format", "pattern", "enumNames", "string", "array", "boolean", "x"]
)
odd_schemas = st.recursive(
    json_values | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=6),
    max_leaves=30,
)


@given(
    odd_schemas,
    st.dictionaries(st.text(max_size=3), json_values, max_size=3),
    st.lists(st.text(), min_size=1),
)
def test_no_schema_of_an_agent_and_no_answer_breaks_a_form(
    schema: object, content: dict[str, Any], given_texts: list[str]
) -> None:
    asked = Form.of(schema)
    assert isinstance(asked.summary(), str) and isinstance(asked.options, list)
    asked.as_tool_call("e", "m")
    calls = [partial(asked.check, content), *(partial(field.parse, given_texts) for field in asked.fields)]
    for call in calls:
        try:
            call()
        except Misuse as error:
            assert error.message
    for name, value in asked.defaults().items():
        assert asked.field(name).fault(value) is None


@given(fields, st.lists(st.text(max_size=5), min_size=1, max_size=3))
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
