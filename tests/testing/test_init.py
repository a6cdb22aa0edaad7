"""The public names of the harness are there, and documented."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("name", __import__("trio_broker.testing").testing.__all__)
def test_every_public_name_is_there(name: str) -> None:
    from trio_broker import testing

    assert getattr(testing, name) is not None and name in dir(testing)
    assert f"{name}" in (testing.__doc__ or ""), "and is documented"


def test_another_name_is_an_attribute_error() -> None:
    from trio_broker import testing

    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        testing.nonsense  # noqa: B018  # the access is the test
