"""What a grant allows: scopes as a set, globs of keys, and directories below its roots."""

from __future__ import annotations

from typing import Any

import pytest

from trio_broker.auth.grant import OWNER, Grant, InsideAgent, Scope, check_not_own, require_scope
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


def inside(session: str | None, *scopes: Scope) -> Grant:
    return grant_of(*scopes, roots=("/srv/a",), inside=InsideAgent("it runs in x", "do y", session))


def test_inside_an_agent_roots_limit_where_it_opens_and_not_what_it_sees() -> None:
    grant = inside("own", Scope.PROMPT)
    assert grant.can_see("k", "/home") and not grant.may_open_in("/home") and grant.may_open_in("/srv/a/b")


@pytest.mark.parametrize("scope", [Scope.ANSWER, Scope.ADMIN])
def test_inside_an_agent_a_refusal_names_that_and_no_token(scope: Scope) -> None:
    with pytest.raises(Forbidden) as caught:
        require_scope(inside("own", Scope.PROMPT), scope, "that")
    assert (
        caught.value.message.startswith("it runs in x, so it may not ")
        and "token" not in caught.value.message
    )
    assert caught.value.message.endswith("(that); do y")


def test_inside_an_agent_its_own_session_is_not_acted_on_and_if_unknown_none_is() -> None:
    check_not_own(inside("own", Scope.PROMPT), "other")
    check_not_own(OWNER, "own")
    for grant, key in ((inside("own", Scope.PROMPT), "own"), (inside(None, Scope.OBSERVE), "other")):
        assert not grant.may_act_on(key)
        with pytest.raises(Forbidden, match=f"look at session '{key}' but not act on it; do y"):
            check_not_own(grant, key)
