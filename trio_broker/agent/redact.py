"""Secrets that agents were given never come back out of them: not into the log, the journal, status or an error. Pure.

A value counts as secret if its variable's name says so, or if it looks like a key: long, letters and digits, no path.
It is looked for as it is and as JSON writes it. One that an agent writes in two pieces, or encoded, can't be seen.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

SECRET_NAMES = re.compile(
    r"KEY|TOKEN|SECRET|PASS|PWD$|CREDENTIAL|AUTH|COOKIE|PRIVATE|BEARER|DSN", re.IGNORECASE
)
LIKE_A_KEY = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])[^\s/\\]{20,}")
MIN_LENGTH = 8  # characters: a shorter value is a word, and would be found everywhere


class Redactor:
    """Replaces the secrets of one environment by their names."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        found = {
            form: b"[redacted %b]" % re.sub(r"\W", "_", name, flags=re.ASCII).encode()
            for name, value in environment.items()
            if is_secret(name, value)
            for form in _forms(value)
        }
        self._secrets = sorted(
            found.items(), key=lambda pair: -len(pair[0])
        )  # a longer one may have another in it

    def __call__(self, data: bytes) -> bytes:
        """The same bytes without secrets; JSON stays JSON, and lines stay lines."""
        for secret, shown in self._secrets:
            if secret in data:
                data = data.replace(secret, shown)
        return data


def is_secret(name: str, value: str) -> bool:
    """Whether the value of a variable of that name is kept from everybody but its agent."""
    if len(value) < MIN_LENGTH:
        return False
    return bool(SECRET_NAMES.search(name)) or bool(LIKE_A_KEY.fullmatch(value))


def _forms(value: str) -> set[bytes]:
    """As it is, as JSON has it, and as JSON has it that is a text within JSON, such as the output of a tool."""
    once = _written(value)
    return {
        text.encode("utf-8", "surrogateescape") for text in {value} | once | set().union(*map(_written, once))
    }


def _written(text: str) -> set[str]:
    found = {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    return found | {one.replace("/", "\\/") for one in found}
