"""Lines of safe text: labels, cuts that are counted, and the host of a URL."""

from __future__ import annotations

import pytest

from trio_broker.client.text_lines import (
    MAX_CHARACTERS,
    MAX_LINES,
    LineWriter,
    TextLine,
    cut_lines,
    host_of,
    leaves,
)


def written(writer: LineWriter) -> list[str]:
    return [line.text for line in writer.lines]


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://example.org/path?a@b", "example.org"),
        ("HTTP://[::1]:8080/", "[::1]:8080"),
        ("file:///etc/passwd", "none (a file)"),
        ("https:///example.org", "example.org"),
        ("https://good.com@evil.com/", "evil.com (before the @ stands a user name, not a host)"),
        (
            "https://evil.com\\@good.com/",
            "evil.com (the URL has a backslash: programs disagree about its host)",
        ),
        ("https://\u0430pple.com/", "\u0430pple.com (to computers: xn--pple-43d.com)"),
        ("https://a\tb.com/", "a\tb.com (to computers: a\tb.com)"),
        ("https://" + "\u0430" * 80, "\u0430" * 80 + " (not a plain host name)"),
        ("https://", "none"),
        ("example.org", "none"),
    ],
)
def test_the_host_is_the_one_that_a_browser_opens(url: str, host: str) -> None:
    assert host_of(url) == host


def test_several_lines_stand_indented_below_their_label() -> None:
    writer = LineWriter("`show`", whole=False)
    writer.text("command", "command", "one\ncommand: two\n")
    writer.text("path", "path", "/x\ny\n")
    assert [(line.style, line.text) for line in writer.lines] == [
        ("label", "command:"), ("command", "  one"), ("command", "  command: two"), ("path", "path: /x\\x0ay\\x0a"),
    ]  # fmt: skip


def test_a_long_text_is_shown_once_and_named_after_that() -> None:
    writer = LineWriter("`show`", whole=False)
    long, short = "x" * 50, "y" * 10
    for label, text in (("command", long), ("input", long), ("a", short), ("b", short)):
        writer.text("text", label, text)
    assert written(writer) == [f"command: {long}", "input: (the command above)", f"a: {short}", f"b: {short}"]


@pytest.mark.parametrize("text", ["x" * (MAX_CHARACTERS + 7), "x\n" * (MAX_CHARACTERS // 2) + "y" * 7])
def test_a_cut_says_how_much_is_missing_unless_all_is_wanted(text: str) -> None:
    writer = LineWriter("`show`", whole=False)
    writer.text("text", "input", text)
    assert written(writer)[-1].endswith("; all: `show`") and "… 7 more characters" in written(writer)[-1]
    whole = LineWriter("`show`", whole=True)
    whole.text("text", "input", text)
    assert "`show`" not in "".join(written(whole)) and sum(map(len, written(whole))) > len(text) // 2


def test_items_beyond_the_limit_are_counted() -> None:
    writer = LineWriter("`show`", whole=False)
    writer.members("input", [(str(number), number) for number in range(MAX_LINES + 5)])
    assert len(writer.lines) == MAX_LINES + 1
    assert written(writer)[-1] == "… 5 more members; all: `show`"


def test_lines_are_cut_to_a_number_with_the_rest_counted() -> None:
    lines = [TextLine("text", str(number)) for number in range(5)]
    assert cut_lines(lines, 5, "`show`") == lines
    assert [line.text for line in cut_lines(lines, 3, "`show`")] == ["0", "1", "… 3 more lines; all: `show`"]


def test_members_of_objects_have_dotted_names() -> None:
    value = {"a": {"b": [1, 2]}, "c": [{"d": None}, {}], "e": {}}
    assert [*leaves(value, "")] == [("a.b", [1, 2]), ("c[0].d", None), ("c[1]", {}), ("e", {})]
    assert [*leaves(None, "")] == [*leaves({}, "")] == []
