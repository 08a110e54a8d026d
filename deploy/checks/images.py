"""Our images: what their Dockerfiles say, and a build without a container engine.

`python -m deploy.checks.images [IMAGE …]` runs the RUN steps of a Dockerfile's build stage in a copy of the build
context, with a scratch folder in the place of /opt. Then it starts the image's program in that environment
(image_start.py) and reads the bill of materials. That takes minutes for each image, and packages come from the
configured index: `make images-check`, not `make test`.
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
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from deploy.checks.image_start import STARTS

ROOT = Path(__file__).parents[2]
DOCKERFILES = ROOT / "deploy" / "docker"
_CONTEXT = ("pyproject.toml", "constraints.txt", "hatch_build.py", "README.md", "LICENSE",
            "protos", "services", "catalog", "experiments", "cli", "demo", "ops", "training")  # fmt: skip


@dataclass(frozen=True)
class Image:
    """What a Dockerfile says. `extras`: of the project, `module`: the entry point's, `paths`: those that it names."""

    extras: list[str]
    module: str | None
    paths: list[PurePosixPath]

    def has(self, path: PurePosixPath) -> bool:
        """Whether a path is one that the Dockerfile names, or above or below one."""
        return any(path.is_relative_to(name) or name.is_relative_to(path) for name in self.paths)


@cache
def image_of(image: str) -> Image | None:
    """By a container's `image`, from any registry; None where no Dockerfile is in deploy/docker."""
    name = re.split(r"[:@]", image.rpartition("/")[2])[0]
    file = DOCKERFILES / f"{name.replace('-', '_')}.Dockerfile"
    if "kairos/" not in image or not file.is_file():
        return None
    text = re.sub(r"^#.*\n", "", file.read_text(), flags=re.MULTILINE)
    extras = re.search(r"^ARG EXTRAS=(\S+)$", text, re.MULTILINE)
    entry = re.search(r'^ENTRYPOINT \["(?:python", "-m", ")?([\w.]+)"\]$', text, re.MULTILINE)
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    return Image(
        extras[1].split(",") if extras else [],
        scripts.get(entry[1], entry[1]).partition(":")[0] if entry else None,
        [PurePosixPath(path) for path in re.findall(r"(?<![\w.])/(?:opt/kairos|models)/[\w.]+", text)],
    )


def build_stage(dockerfile: Path) -> tuple[list[str], dict[str, str]]:
    """The shell commands of a Dockerfile's first stage, in order, and their variables."""
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE))
    stage = text.split("FROM ")[1]
    arguments = re.findall(r"^(?:ARG|ENV) (.*)$", stage, re.MULTILINE)
    variables = dict(found for line in arguments for found in re.findall(r"(\w+)=(\S+)", line))
    return re.findall(r"^RUN (.*)$", stage, re.MULTILINE), variables


def check(image: str) -> str:
    """The outcome in one line. Raises CalledProcessError where a step fails."""
    (commands, variables), began = build_stage(DOCKERFILES / f"{image}.Dockerfile"), time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"image-{image}-") as scratch:
        opt, source, tools = (Path(scratch) / name for name in ("opt", "src", "bin"))
        for folder in (opt / "kairos", source, tools):
            folder.mkdir(parents=True)
        (tools / "python").symlink_to(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}")
        for name in _CONTEXT:
            (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, source / name)
        shutil.copy(DOCKERFILES / "requirements.py", source)
        environment = {
            **{name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")},
            **variables,
            "PATH": f"{tools}:{os.environ['PATH']}",
        }
        for command in commands:
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
