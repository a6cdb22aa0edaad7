"""Events and updates of a session in words."""

from __future__ import annotations

import pytest

from trio_broker.cli.events import content_text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"type": "text", "text": "hi"}, "hi"),
        ({"type": "resource_link", "uri": "file:///a"}, "<resource_link file:///a>"),
        ({"type": "resource", "resource": {"uri": "file:///b"}}, "<resource file:///b>"),
        ({"type": "image", "mimeType": "image/png"}, "<image image/png>"),
        ({}, "<content >"),
        ("no block", ""),
    ],
)
def test_a_block_that_is_no_text_is_told_by_its_kind_and_name(content: object, text: str) -> None:
    assert content_text(content) == text
