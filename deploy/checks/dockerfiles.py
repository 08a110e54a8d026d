"""The Dockerfiles, read: what is in an image, and what is wrong with its file."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from deploy.checks.build import DEPLOY

ROOT = DEPLOY.parent
_BASE = re.compile(r"^FROM (\S+@sha256:[0-9a-f]{64})(?: AS build)?$", re.MULTILINE)
# What differs from image to image, and is held against the code.
_OWN = ("ARG EXTRAS=", "ENTRYPOINT ")


def is_ours(image: str) -> bool:
    return "kairos/" in image


def dockerfile(image: str, deploy: Path = DEPLOY) -> Path:
    name = re.split(r"[:@]", image.rpartition("/")[2])[0]
    return deploy / "docker" / f"{name.replace('-', '_')}.Dockerfile"


def extras(image: str, deploy: Path = DEPLOY) -> list[str]:
    """Those of the project that an image is built with; none where it has no Dockerfile or holds no Python."""
    file = dockerfile(image, deploy)
    found = re.search(r"^ARG EXTRAS=(\S+)$", file.read_text(), re.MULTILINE) if file.is_file() else None
    return found[1].split(",") if found else []


def entrypoint(image: str, deploy: Path = DEPLOY) -> str | None:
    """The module that the image runs, by itself or through a script of the project."""
    file = dockerfile(image, deploy)
    found = re.search(r'^ENTRYPOINT \["(?:python", "-m", ")?([\w.]+)"\]$', file.read_text(), re.MULTILINE)
    return _scripts().get(found[1], found[1]) if found else None


@cache
def _scripts() -> dict[str, str]:
    """The module of each script."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    return {name: target.partition(":")[0] for name, target in scripts.items()}


def user(image: str, deploy: Path = DEPLOY) -> int:
    found = re.search(r"^USER (\d+):", dockerfile(image, deploy).read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def has_path(image: str, path: PurePosixPath, deploy: Path = DEPLOY) -> bool:
    """Whether the image has the file or folder: one that its Dockerfile names, what is above or below it."""
    file = dockerfile(image, deploy)
    text = re.sub(r"^#.*\n", "", file.read_text(), flags=re.MULTILINE) if file.is_file() else ""
    named = [PurePosixPath(name) for name in re.findall(r"(?<![\w.])/(?:opt/kairos|models)/[\w.]+", text)]
    return any(path.is_relative_to(name) or name.is_relative_to(path) for name in named)


def dockerfile_problems(deploy: Path = DEPLOY) -> Iterator[str]:
    """One line for each thing that would not build, or would build another image than meant."""
    files = sorted((deploy / "docker").glob("*.Dockerfile"))
    yield from _linted(files)
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for file in files:
        text = file.read_text()
        problems = [*_rights(text), *_modules(text)]
        # The image of models holds no Python.
        if file.name != "models.Dockerfile":
            problems += _bases(text)
            image = file.name.partition(".")[0]
            named = [*extras(image, deploy), *re.findall(r"\.\[([\w-]+)\]", text)]
            problems += [f"there is no extra {extra}" for extra in named if extra not in known]
            problems += [] if extras(image, deploy) else ["names no extras"]
        yield from (f"{file.name}: {problem}" for problem in problems)
    yield from _odd_lines([file for file in files if file.name != "models.Dockerfile"])


def _linted(files: list[Path]) -> Iterator[str]:
    """hadolint, with every one of its rules, where it is there (it has no wheel for some platforms)."""
    hadolint = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is not None:
        outcome = subprocess.run([hadolint, *map(str, files)], capture_output=True, text=True, check=False)
        yield from (line.rpartition("/")[2] for line in (outcome.stdout + outcome.stderr).splitlines())


def _rights(text: str) -> Iterator[str]:
    instructions = [line.split()[0] for line in text.splitlines() if re.match("[A-Z]+ ", line)]
    if "USER 10001:10001" not in text.splitlines():
        yield "what runs is not user 10001, by number"
    elif rest := set(instructions[instructions.index("USER") + 1 :]) - {"ENTRYPOINT"}:
        yield f"{', '.join(rest)} stands behind USER"


def _bases(text: str) -> Iterator[str]:
    bases = _BASE.findall(text)
    if len(bases) != 2 or len(set(bases)) != 1:
        yield "its two stages do not stand on one base, pinned by its digest"


def _modules(text: str) -> Iterator[str]:
    for entry in re.findall(r"^ENTRYPOINT (.*)$", text, re.MULTILINE):
        try:
            *python, module = json.loads(entry)
        except ValueError:
            yield f"ENTRYPOINT {entry} is not the list python, -m, module"
            continue
        if not python and module in _scripts():
            continue
        if python != ["python", "-m"] or not (ROOT / module.replace(".", "/") / "__main__.py").is_file():
            yield f"ENTRYPOINT: there is no {' '.join(python)} {module}"
    code = re.sub(r"^(#|ENTRYPOINT).*\n", "", text, flags=re.MULTILINE)
    for module in re.findall(r"-m ([\w.]+)", code):
        if module != "venv" and not (ROOT / f"{module.replace('.', '/')}.py").is_file():
            yield f"there is no module {module}"
    for module in re.findall(r"from (\w+) import", code):
        if find_spec(module) is None:
            yield f"there is no package {module}"
    for program in re.findall(r"^(?:RUN| &&) (?:\w+=\S+ )?(\S+)", code, re.MULTILINE):
        if program not in ("python", "cp") and not program.startswith("/opt/"):
            yield f"calls {program}, which is not in the base"
    for folder in set(re.findall(r"/opt/\w+", code)) - set(re.findall(r"-m venv (/opt/\w+)", code)):
        yield f"nothing makes {folder}"


def _odd_lines(files: list[Path]) -> Iterator[str]:
    """They are one file but for a few lines: what all others have is needed, and a letter off from theirs is a slip."""
    lines = {file.name: {_step(line) for line in file.read_text().splitlines() if line and not line.startswith("#")}
             for file in files}  # fmt: skip
    counts = Counter(line for content in lines.values() for line in content)
    for name, content in lines.items():
        yield from (f"{name}: lacks {line!r}, which all others have" for line, count in counts.items()
                    if count == len(files) - 1 and line not in content)  # fmt: skip
        for line in (line for line in content if counts[line] == 1 and not line.startswith(_OWN)):
            for other in (other for other in counts if other != line and _letter_apart(line, other)):
                yield f"{name}: {line!r} is nearly {other!r}"


def _step(line: str) -> str:
    """A line without what only joins it to others, or names an index of packages."""
    return re.sub(r"^(RUN )?( *&& )?(PIP_EXTRA_INDEX_URL=\$\{TORCH_INDEX_URL\} )?|[ \\]*$", "", line)


def _letter_apart(one: str, other: str) -> bool:
    shorter, longer = sorted((one, other), key=len)
    start = next((n for n, (a, b) in enumerate(zip(shorter, longer, strict=False)) if a != b), len(shorter))
    gap = len(longer) - len(shorter)
    return gap <= 1 and longer[start + 1 :] == shorter[start + 1 - gap :]
