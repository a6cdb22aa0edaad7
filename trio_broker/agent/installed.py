"""Agents that the broker has in a directory of its own: what each was installed from, and how it is started.

One record a name, `NAME.json`, written when everything else is there; it names the folder beside it. Whoever resolves
an agent reads the record anew, so that a running broker knows of an installation at once.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import attrs

from trio_broker.errors import Misuse

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
NPM = re.compile(r"((?:@[\w.-]+/)?[\w.-]+)@(\d[\w.+-]*)")
PYPI = re.compile(r"([A-Za-z0-9][\w.-]*(?:\[[\w,.-]+\])?)(?:==|@)(\d[\w.+!-]*)")
EXAMPLES = "npm:@scope/name@1.2.3, pypi:name==1.2.3, or a file such as npm:./name-1.2.3.tgz"


@attrs.frozen
class Package:
    """A package of one version: `registry` is npm or pypi. Without `version` the name is a file's."""

    registry: str
    name: str
    version: str | None
    program: str | None = None
    args: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Package:
        """`npm:@scope/name@1.2.3`, `pypi:name==1.2.3`, or a file of either kind. Raises Misuse."""
        registry, _, rest = text.partition(":")
        if registry in ("npm", "pypi") and rest:
            if os.path.exists(rest):
                return cls(registry, os.path.abspath(rest), None)
            if found := (NPM if registry == "npm" else PYPI).fullmatch(rest):
                return cls(registry, found[1], found[2])
        raise Misuse(f"{text!r} names no package of one version; write {EXAMPLES}")

    @property
    def spec(self) -> str:
        """As its installer takes it."""
        between = "@" if self.registry == "npm" else "=="
        return self.name if self.version is None else f"{self.name}{between}{self.version}"


@attrs.frozen
class InstalledAgent:
    """What is installed under a name. `folder` has all of it."""

    name: str
    registry: str
    package: str
    version: str
    program: str
    args: tuple[str, ...]
    folder: str
    installed_at: float

    @property
    def argv(self) -> tuple[str, ...]:
        return (self.program, *self.args)


@attrs.frozen
class InstalledAgents:
    """The directory of what is installed; it need not exist. Every method blocks, for a moment."""

    directory: Path

    def find(self, name: str) -> InstalledAgent | None:
        """None, too, when its record or its program is damaged: then it is as if it were not installed."""
        if not NAME.fullmatch(name):
            return None
        try:
            raw: dict[str, Any] = json.loads((self.directory / f"{name}.json").read_text(encoding="utf-8"))
            record = InstalledAgent(**{**raw, "args": tuple(raw["args"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return record if os.access(record.program, os.X_OK) else None

    def names(self) -> list[str]:
        if not self.directory.is_dir():
            return []
        return sorted(path.stem for path in self.directory.glob("*.json") if self.find(path.stem))

    def new_folder(self, name: str) -> Path:
        """An empty folder for the next installation under this name. Raises Misuse for what is no name."""
        if not NAME.fullmatch(name):
            raise Misuse(f"{name!r} is no name to install under: use letters, digits, dot, dash, underscore")
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            return Path(tempfile.mkdtemp(prefix=f"{name}@", dir=self.directory))
        except OSError as error:
            raise Misuse(
                f"{self.directory} can't be written: {error}; set TRIO_BROKER_HOME to a directory of yours"
            ) from error

    def save(self, record: InstalledAgent) -> None:
        """Put the record in place; folders of earlier installations go, but the last one, which may still run."""
        before = self.find(record.name)
        text = json.dumps(attrs.asdict(record), indent=1, ensure_ascii=False)
        written = Path(record.folder, "record.json")
        written.write_text(text + "\n", encoding="utf-8")
        written.replace(self.directory / f"{record.name}.json")
        self._clear(record.name, {record.folder} | ({before.folder} if before else set()))

    def remove(self, name: str) -> bool:
        """Remove record and folders; whether there was anything of that name."""
        record = self.directory / f"{name}.json"
        there = bool(NAME.fullmatch(name)) and record.exists()
        if there:
            record.unlink()
            self._clear(name, set())
        return there

    def _clear(self, name: str, but: set[str]) -> None:
        for folder in self.directory.glob(f"{name}@*"):
            if str(folder) not in but:
                shutil.rmtree(folder, ignore_errors=True)
