"""What a grant allows: scopes as a set, globs of keys, and directories below its roots."""

from __future__ import annotations

from typing import Any

import pytest

from trio_broker.auth.grant import OWNER, Grant, Scope, require_scope
from trio_broker.errors import Forbidden


def grant_of(*scopes: Scope, **more: Any) -> Grant:
    return Grant("alice", frozenset(scopes), **more)


def test_the_owner_may_everything() -> None:
    assert all(OWNER.may(scope) for scope in Scope) and OWNER.can_see("any", "/") and OWNER.may_open_in("/")


def test_a_grant_without_a_scope_may_nothing() -> None:
    assert not any(grant_of().may(scope) for scope in Scope)


@pytest.mark.parametrize("scope", [Scope.PROMPT, Scope.ANSWER])
def test_any_scope_includes_observe_and_no_other(scope: Scope) -> None:
    assert {one for one in Scope if grant_of(scope).may(one)} == {scope, Scope.OBSERVE}


@pytest.mark.parametrize(
    ("globs", "key", "allowed"),
    [
        ((), "any", True),
        (("chat:*",), "chat:1", True),
        (("chat:*",), "CHAT:1", False),
        (("a", "b*"), "bc", True),
        (("a",), "ab", False),
    ],
)
def test_a_key_matches_any_of_the_globs(globs: tuple[str, ...], key: str, allowed: bool) -> None:
    assert grant_of(Scope.PROMPT, sessions=globs).may_name(key) is allowed
    assert grant_of(Scope.ADMIN, sessions=globs).may_name(key)


@pytest.mark.parametrize(
    ("directory", "inside"),
    [
        ("/srv/a", True),
        ("/srv/a/b", True),
        ("/srv/ab", False),
        ("/srv", False),
        ("/srv/a/../b", False),
        ("srv/a", False),
    ],
)
def test_a_directory_is_below_a_root_by_whole_names(directory: str, inside: bool) -> None:
    grant = grant_of(Scope.PROMPT, roots=("/srv/a",))
    assert grant.may_open_in(directory) is grant.can_see("k", directory) is inside


def test_without_roots_sessions_are_visible_but_none_may_be_opened() -> None:
    grant = grant_of(Scope.PROMPT)
    assert grant.can_see("k", "/srv") and not grant.may_open_in("/srv")


def test_the_refusal_names_the_scope_and_the_command() -> None:
    require_scope(grant_of(Scope.PROMPT), Scope.OBSERVE, "a look")
    with pytest.raises(Forbidden, match="--scope answer") as caught:
        require_scope(grant_of(Scope.PROMPT), Scope.ANSWER, "an answer")
    assert caught.value.data() == {"kind": "forbidden", "scope": "answer"}


def test_the_digest_of_the_token_is_not_shown() -> None:
    assert "secret" not in repr(grant_of(Scope.PROMPT, token="secret"))
