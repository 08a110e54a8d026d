"""The script of components/qdrant that takes snapshots every night."""

from __future__ import annotations

import ast

from qdrant_client import QdrantClient

from deploy.checks.build import DEPLOY

SCRIPT = DEPLOY / "k8s" / "components" / "qdrant" / "snapshot.py"


def test_it_asks_for_what_the_client_has() -> None:
    """Each method that the script calls is one of Qdrant's client."""
    called = {
        node.attr
        for node in ast.walk(ast.parse(SCRIPT.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "client"
    }
    assert {"create_snapshot", "list_snapshots"} <= called
    assert {name for name in called if not hasattr(QdrantClient, name)} == set()
