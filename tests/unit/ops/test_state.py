"""The secret of the local suite's stage calls."""

from __future__ import annotations

import stat
from pathlib import Path

from ops.state import create_stage_secret
from services.common.stage_access import StageAccessSettings


def test_the_secret_is_created_once(tmp_path: Path) -> None:
    """The first start makes a secret that only the user can read, and that stages accept; later starts keep it."""
    path = tmp_path / "stage-secret"
    create_stage_secret(path)
    first = StageAccessSettings(secret_file=path).secrets()
    create_stage_secret(path)
    assert StageAccessSettings(secret_file=path).secrets() == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_two_suites_have_two_secrets(tmp_path: Path) -> None:
    """Each folder has a secret of its own."""
    for name in ("a", "b"):
        create_stage_secret(tmp_path / name)
    assert (tmp_path / "a").read_text() != (tmp_path / "b").read_text()
