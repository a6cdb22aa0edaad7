"""The tests mirror the package: `trio_broker/a/b.py` has `tests/a/test_b.py`, or several `test_b_aspect.py`."""

from __future__ import annotations

from pathlib import Path, PurePath

import trio_broker

PACKAGE = Path(trio_broker.__file__).parent
TESTS = Path(__file__).parent

EXEMPT: dict[str, str] = {}  # modules without a test file of their own, and why
WITHOUT_MODULE = (
    "behaviour",
    "bench",
    "example",
    "sdk",
)  # folders about the whole, or about others' programs
OF_THE_REPOSITORY = {"conftest", "house", "layers", "measured", "mirror", "races", "readme"}


def modules() -> set[str]:
    """Every module as `folder/name`."""
    found = (path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py"))
    return {name.as_posix() for name in found if name.name not in ("__init__", "__main__")}


def names_of_tests() -> set[str]:
    """What the test files are named after, as `folder/name`."""
    found = (path.relative_to(TESTS) for path in TESTS.rglob("test_*.py"))
    names = {(path.parent / path.stem.removeprefix("test_")).as_posix() for path in found}
    return {name for name in names if PurePath(name).parts[0] not in WITHOUT_MODULE} - OF_THE_REPOSITORY


def test_every_module_has_a_test_file_of_its_name() -> None:
    assert sorted(modules() - names_of_tests() - EXEMPT.keys()) == []


def test_every_test_file_is_named_after_a_module_or_an_aspect_of_one() -> None:
    packages = {path.parent.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*/__init__.py")}
    known = modules() | {f"{package}/init" for package in packages}
    assert [
        name
        for name in sorted(names_of_tests())
        if not any(f"{name}_".startswith(f"{one}_") for one in known)
    ] == []


def test_no_exemption_is_stale() -> None:
    assert EXEMPT.keys() <= modules() - names_of_tests()
    assert all((TESTS / f"test_{name}.py").exists() for name in OF_THE_REPOSITORY)
    assert all((TESTS / name).is_dir() for name in WITHOUT_MODULE)
