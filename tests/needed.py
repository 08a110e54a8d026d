"""Programs that a test needs: without one it is skipped on somebody's machine, and fails in CI."""

from __future__ import annotations

import os
import shutil

import pytest


def needs(program: str, path: str | None = None) -> None:
    """Skips the test, or fails it in CI, where nothing that matters is skipped. `path`: where to look, as PATH."""
    if shutil.which(program, path=path) is None:
        if os.environ.get("CI"):
            pytest.fail(f"{program} is missing")
        pytest.skip(f"{program} is not installed")
