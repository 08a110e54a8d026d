"""Logs of the code under test stay out of the tests' output; no example fails for being slow; who runs what."""

from __future__ import annotations

import logging
from typing import Any

import hypothesis
import pytest
import structlog

# On a machine with other work a slow example says nothing about the code. The examples are the same in each run: a new
# one would fail a change that has nothing to do with it. To look for new ones: pytest --hypothesis-profile=random.
hypothesis.settings.register_profile("kairos", deadline=None, derandomize=True)
hypothesis.settings.register_profile("random", deadline=None)
hypothesis.settings.load_profile("kairos")
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


# Ray clusters on one machine disturb each other: one worker runs all files that start one.
_STARTING_RAY = {
    "tests/integration/test_bulk_embedding.py",
    "tests/integration/test_hosting.py",
    "tests/unit/training/test_search_training.py",
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """With `-n 2` a worker runs whole files: what a file sets up once is set up by one worker alone.

    The mark `xdist_group` has no effect with pytest 9.2 and xdist 3.8: xdist writes it into an id that is not read.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "Ray" if file in _STARTING_RAY else file

    return ByFile(config, log)
