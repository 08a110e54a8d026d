"""Values that somebody has yet to fill in: placeholders in angle brackets, as in deploy/k8s/secrets.example.yaml."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

from deploy.checks.build import Object, Problem, name_of

# `<fill in>`, `<random>`, `<its key>`.
_PLACEHOLDER = re.compile(r"<[a-z][a-z ,.-]*>", re.IGNORECASE)


def unfilled_problems(objects: list[Object]) -> Iterator[Problem]:
    """One for each value with a placeholder. Other text than a secret's may mean its brackets: a warning elsewhere."""
    for item in objects:
        content = item
        if item["kind"] == "Secret":
            encoded = {key: b64decode(value).decode(errors="ignore") for key, value in item.get("data", {}).items()}
            content = {"data": encoded, "stringData": item.get("stringData", {})}
        for path, value in _texts(content, ""):
            if found := _PLACEHOLDER.search(value):
                what = f"{path.lstrip('.')} still has {found[0]}: fill it in"
                yield Problem(name_of(item), what, own=item["kind"] != "Secret")


def _texts(content: Any, path: str) -> Iterator[tuple[str, str]]:
    """(its keys joined by dots, a string) of everything within."""
    if isinstance(content, str):
        yield path, content
    entries = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in entries:
        yield from _texts(value, f"{path}.{key}")
