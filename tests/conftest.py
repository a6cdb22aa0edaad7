"""What holds for every test."""

from __future__ import annotations

import shutil

import hypothesis
import pytest

# A deadline per example would make tests depend on what else the machine does.
hypothesis.settings.register_profile("house", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("house")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `node` are skipped where there is no Node; `.ci/run` insists on having one."""
    missing = [program for program in ("node", "npm") if shutil.which(program) is None]
    if missing:
        skip = pytest.mark.skip(reason=f"needs {' and '.join(missing)} in PATH")
        for item in items:
            if item.get_closest_marker("node"):
                item.add_marker(skip)
