"""docs/deploying.md: what needs no cluster runs here, in a clean clone and in the order of the page."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documentation import ROOT, Block, blocks
from tests.needed import needs

_HERE = f"in a clone, by {Path(__file__).relative_to(ROOT)}"
PAGE = [block for block in blocks(ROOT / "docs" / "deploying.md") if block.language == "sh"]
_TIMEOUT_S = 300


def test_every_block_says_where_it_runs() -> None:
    """Each needs a cluster or docker, or is run below; none of those below calls what needs them."""
    assert {(block.mark, block.reason) for block in PAGE} == {
        ("not run", reason) for reason in (_HERE, "needs a cluster", "needs docker")
    }
    for block in PAGE:
        needed = {"kubectl", "helm", "docker", "kind", "make"} & set(block.text.split())
        assert bool(needed) == (block.reason != _HERE), block.place


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of this repository and no other, with the environment that `make setup` makes."""
    needs("kubectl")  # which builds overlays without a cluster
    folder = tmp_path_factory.mktemp("deploying") / "clone"
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(Path(sys.executable).parents[1])
    return folder


def run(block: Block, clone: Path) -> None:
    # The person with the editor fills in the bucket.
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "gen"), "EDITOR": "sed -i s/<fill.in>/shop/"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text], cwd=clone, env=environment,
        capture_output=True, text=True, timeout=_TIMEOUT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{block.place}\n{done.stdout}\n{done.stderr}"
    assert "warning" not in done.stderr, done.stderr


def test_the_commands_that_need_no_cluster(clone: Path) -> None:
    """Secrets, an overlay of one's own, its checks and its next version; no file of the repository is edited."""
    before = {path: path.read_bytes() for path in (clone / "deploy").rglob("*") if path.is_file()}
    for block in PAGE:
        if block.reason == _HERE:
            run(block, clone)
    assert {path: path.read_bytes() for path in before} == before
    site = (clone / "deploy/k8s/sites/shop/kustomization.yaml").read_text()
    assert "kairos/ranker, newName: registry.shop.example/kairos/ranker, newTag: 0.2.0}" in site
    assert "kairos/gateway, newName: registry.shop.example/kairos/gateway, newTag: 0.1.0}" in site
    assert (clone / "shop" / "catalogue.jsonl.gz").is_file()
