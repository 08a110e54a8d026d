"""The scripts of components/qdrant: snapshots of every night, and how a node starts."""

from __future__ import annotations

import ast
import os
import subprocess
from pathlib import Path

import pytest
from qdrant_client import QdrantClient

from deploy.checks.build import DEPLOY

SCRIPT = DEPLOY / "k8s" / "components" / "qdrant" / "snapshot.py"


def test_it_asks_for_what_the_client_has() -> None:
    """Each method that the script calls is one of Qdrant's client."""
    called = {
        node.attr
        for node in ast.walk(ast.parse(SCRIPT.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("client", "node")
    }
    assert {"create_snapshot", "list_snapshots", "cluster_status"} <= called
    assert {name for name in called if not hasattr(QdrantClient, name)} == set()


@pytest.mark.parametrize(
    ("node", "joins"),
    [("kairos-qdrant-0", ""), ("kairos-qdrant-2", " --bootstrap https://kairos-qdrant-0.kairos-qdrant-nodes:6335")],
)
def test_the_first_node_starts_a_cluster_and_the_others_join_it(node: str, joins: str, tmp_path: Path) -> None:
    """Each node has its own name in its URL; only the first one has nobody to ask."""
    entrypoint = tmp_path / "entrypoint.sh"
    entrypoint.write_text('#!/bin/sh\necho "$@"\n')
    entrypoint.chmod(0o755)
    command = ["sh", str(SCRIPT.with_name("start.sh"))]
    outcome = subprocess.run(
        command, cwd=tmp_path, env={"HOSTNAME": node, "PATH": os.environ["PATH"]}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert outcome.stdout.strip() == f"--uri https://{node}.kairos-qdrant-nodes:6335{joins}"
