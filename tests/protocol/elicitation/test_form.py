"""Forms: what fills them in, and one choice as a permission request."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from trio_broker.errors import Misuse
from trio_broker.protocol.elicitation.field import option_id
from trio_broker.protocol.elicitation.form import Form

COLORS = {"type": "string", "enum": ["red", "green"]}
TITLED = {"type": "string", "oneOf": [{"const": "r", "title": "Red"}, {"const": "g", "title": "Green"}]}
MANY = {"type": "array", "items": {"type": "string", "enum": ["a", "b", "c,d"]}, "minItems": 1, "maxItems": 2}


def form(*required: str, **properties: object) -> Form:
    return Form.of({"type": "object", "properties": properties, "required": list(required)})


def test_a_required_field_and_an_unknown_one_are_named() -> None:
    asked = form("age", age={"type": "integer"}, name={"type": "string"})
    with pytest.raises(Misuse, match="field 'age' is required: an integer"):
        asked.check({"name": "x"})
    with pytest.raises(Misuse, match="has no field 'nam'; its fields are age, name"):
        asked.check({"age": 1, "nam": "x"})
    form().check({"anything": "goes"})
    with pytest.raises(Misuse, match="field 'a' expects"):
        form().check({"a": {}})


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
