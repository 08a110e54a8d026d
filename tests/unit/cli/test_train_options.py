"""Options of `kairos train` that do not fit together."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from cli.main import app


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--only", "ranks"], "--only ranks is unknown"),
        (["--only", "text", "--tune", "3"], "leave them out with --only text"),
        (["--only", "text", "--address", "auto"], "leave them out with --only text"),
        (["--only", "text", "--labels", "l.csv"], "need --only understanding"),
        (["--only", "pictures"], "--only pictures and --images belong together"),
        (["--only", "pictures", "--images", "none"], "none is not a folder"),
        (["--images", "."], "--only pictures and --images belong together"),
        (["--templates", "t.yaml"], "need --only understanding"),
    ],
)
def test_refused(options: list[str], named: str) -> None:
    """Before anything is read; the remedy is named."""
    found = CliRunner().invoke(app, ["train", *options])
    assert found.exit_code == 2
    assert named in found.output.replace("\n", " ")
