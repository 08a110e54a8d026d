"""Somebody who follows the pages: one folder, one shell for each block, a suite on free ports."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ops.settings import SuiteSettings
from ops.state import read_state
from tests.documentation import Block

_BLOCK_TIMEOUT_S = 300.0


@dataclass
class Reader:
    """`said` is what each block that was run has printed, by its place."""

    folder: Path
    said: dict[str, str] = field(default_factory=dict)

    def follow(self, blocks: Iterable[Block]) -> None:
        """Run shell blocks one by one, then the Python blocks of the page as one program."""
        blocks = list(blocks)
        for block in blocks:
            if block.language == "sh":
                self._run(block.place, ["bash", "-euo", "pipefail", "-c", block.text])
        programs = [block for block in blocks if block.language == "python"]
        if programs:
            self._run(programs[0].place, [sys.executable, "-c", "\n".join(block.text for block in programs)])

    def kairos(self, *arguments: str, expected: int = 0) -> str:
        """A command that no page has. `expected` is its exit code."""
        return self._run(f"kairos {' '.join(arguments)}", ["kairos", *arguments], expected)

    def _run(self, place: str, command: list[str], expected: int = 0) -> str:
        environment = self._environment()
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_BLOCK_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == expected, f"{place} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        self.said[place] = done.stdout
        return done.stdout

    def _environment(self) -> dict[str, str]:
        ports = [name for name in SuiteSettings.model_fields if name.endswith("_port")]
        environment = {
            **os.environ,
            **{f"KAIROS_SUITE_{name.upper()}": "0" for name in ports},
            # Exporting the model takes half a minute and is the same for every folder.
            "KAIROS_QUERY_ENCODER_MODEL_CACHE_DIR": str(Path("var/models").resolve()),
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
            "COLUMNS": "160",
        }
        if state := read_state(self.folder / "var"):
            environment["KAIROS_TARGET"] = state.gateway
            environment["KAIROS_CONTROL_TARGET"] = state.control
        return environment
