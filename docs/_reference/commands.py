"""The page of the `kairos` command, written by Typer itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def command_page() -> str:
    """Each command with its arguments, options, defaults and environment variables."""
    command = [sys.executable, "-m", "typer", "cli.main", "utils", "docs", "--name", "kairos"]
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    environment = {**os.environ, "PYTHONPATH": paths}
    text = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    # Typer's own title is the name of the command alone.
    return text.replace("# `kairos`", "# The command `kairos`", 1)
