"""Builds what is in an image without a container engine: `python -m deploy.checks.images [IMAGE …]`.

Runs the RUN steps of a Dockerfile's build stage as they stand there, in a copy of the build context, with a scratch
folder in the place of /opt; then starts what the image is there for in that environment, and reads its bill of
materials. Minutes for each image, and the packages come from your index: `make images-check`, not `make test`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from deploy.checks.image_start import STARTS

ROOT = Path(__file__).parents[2]
DOCKERFILES = ROOT / "deploy" / "docker"
_CONTEXT = ("pyproject.toml", "constraints.txt", "hatch_build.py", "README.md", "LICENSE",
            "protos", "services", "cli", "demo", "training")  # fmt: skip


@dataclass
class BuildStage:
    """What a Dockerfile's first stage does: shell commands in order, and the variables that they see."""

    commands: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)


def build_stage(dockerfile: Path) -> BuildStage:
    stage, text = BuildStage(), re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE))
    stages = 0
    for line in text.splitlines():
        word, _, rest = line.strip().partition(" ")
        stages += word == "FROM"
        if stages > 1:
            break
        if word == "RUN":
            stage.commands.append(rest)
        elif word in ("ARG", "ENV"):
            stage.variables |= dict(re.findall(r"(\w+)=(\S+)", rest))
    return stage


def check(image: str) -> str:
    """What came of it, in a line. Raises CalledProcessError where a step fails."""
    stage, began = build_stage(DOCKERFILES / f"{image}.Dockerfile"), time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"image-{image}-") as scratch:
        opt, source, tools = (Path(scratch) / name for name in ("opt", "src", "bin"))
        for folder in (opt / "kairos", source, tools):
            folder.mkdir(parents=True)
        (tools / "python").symlink_to(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}")
        for name in _CONTEXT:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, source / name)
            else:
                shutil.copy(ROOT / name, source / name)
        environment = {
            **{name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")},
            **stage.variables,
            "PATH": f"{tools}:{os.environ['PATH']}",
        }
        for command in stage.commands:
            subprocess.run(
                ["bash", "-ec", command.replace("/opt/", f"{opt}/")],
                cwd=source, env=environment, check=True, stdout=sys.stderr,
            )  # fmt: skip
        python = opt / "kairos" / "venv" / "bin" / "python"
        # From another folder: only what is installed there is found.
        start = [str(python), str(Path(__file__).with_name("image_start.py")), image]
        subprocess.run(start, cwd=scratch, env=environment, check=True, stdout=sys.stderr)
        components = json.loads((opt / "kairos" / "sbom.cdx.json").read_text())["components"]
        size = sum(path.lstat().st_size for path in (opt / "kairos").rglob("*"))
    took = time.monotonic() - began
    return f"{image}: starts; {len(components)} components, {size / 1e6:,.0f} MB, {took:.0f} s"


if __name__ == "__main__":
    for name in sys.argv[1:] or STARTS:
        print(check(name), flush=True)
