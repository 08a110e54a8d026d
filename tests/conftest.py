"""Logs of the code under test stay out of the tests' output; no example fails for being slow; who runs what."""

from __future__ import annotations

import logging

import hypothesis
import pytest
import structlog

# On a machine with other work a slow example says nothing about the code. The examples are the same in each run: a new
# one would fail a change that has nothing to do with it. To look for new ones: pytest --hypothesis-profile=random.
hypothesis.settings.register_profile("kairos", deadline=None, derandomize=True)
hypothesis.settings.register_profile("random", deadline=None)
hypothesis.settings.load_profile("kairos")
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With `-n 2 --dist loadgroup` a worker runs whole files, and one of them all files that start Ray."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.as_posix()))
