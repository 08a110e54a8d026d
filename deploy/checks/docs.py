"""What the docs tell somebody to type: objects, ports and files that are there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from deploy.checks.build import DEPLOY, Object

_PAGES = ("deploying.md", "runbook.md")
_HASH = re.compile(r"-[a-z0-9]{10}$")


def docs_problems(
    overlays: Mapping[str, list[Object]], secrets: list[Object], docs: Path = DEPLOY.parent / "docs"
) -> Iterator[str]:
    """One line for each name in a page that is none in any overlay."""
    objects = [*secrets, *(item for items in overlays.values() for item in items)]
    # A generated config map bears a digest behind its name.
    names = {name for o in objects for name in (o["metadata"]["name"], _HASH.sub("", o["metadata"]["name"]))}
    ports = {(o["metadata"]["name"], str(port["port"]))
             for o in objects if o["kind"] == "Service" for port in o["spec"]["ports"]}  # fmt: skip
    for page in _PAGES:
        text = (docs / page).read_text()
        for name in sorted(set(re.findall(r"\bkairos-[a-z][a-z-]*[a-z]\b(?!\.\w)", text)) - names):
            yield f"docs/{page} names {name}, and there is no such object"
        for service, port in re.findall(r"(?<!-n monitoring port-forward )\bsvc/([\w-]+) (\d+)", text):
            if (service, port) not in ports:
                yield f"docs/{page}: no service {service} has the port {port}"
        for path in sorted(set(re.findall(r"\bdeploy/(?:k8s|docker|monitoring)/[\w./-]*\w", text))):
            if not (DEPLOY.parent / path).exists():
                yield f"docs/{page} names {path}, and there is no such file"
