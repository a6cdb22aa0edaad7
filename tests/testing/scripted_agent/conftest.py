"""The published schema of ACP, which what the scripted agent sends has to match."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

SCHEMA = Path(__file__).parents[2] / "protocol" / "schema" / "schema.json"


@pytest.fixture
def validator() -> Callable[[str], Draft202012Validator]:
    """The validator of a type of the schema, by its name."""
    if not SCHEMA.exists():
        pytest.skip("the published schema is not here")
    definitions = json.loads(SCHEMA.read_text())["$defs"]
    return lambda name: Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": definitions})
