"""What holds for every test."""

from __future__ import annotations

import shutil

import hypothesis
import pytest

# A deadline per example would make tests depend on what else the machine does.
hypothesis.settings.register_profile("house", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("house")


# Who has one of these starts programs, and waits for them on the clock on the wall.
STARTERS = {"Home", "Talk", "Terminal", "home_with", "open_real", "serving", "subprocess", "multiprocessing"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of real processes are marked `process`, by their module's imports: `just fast` leaves them out.

    Tests marked `node` are skipped where there is no Node; `.ci/run` insists on having one.
    """
    for item in items:
        if isinstance(item, pytest.Function) and not STARTERS.isdisjoint(vars(item.module)):
            item.add_marker("process")
    missing = [program for program in ("node", "npm") if shutil.which(program) is None]
    if missing:
        skip = pytest.mark.skip(reason=f"needs {' and '.join(missing)} in PATH")
        for item in items:
            if item.get_closest_marker("node"):
                item.add_marker(skip)
