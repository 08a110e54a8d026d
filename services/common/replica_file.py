"""The file that names the replicas of a suite on one machine: Serve's host writes it, the gateway reads it.

It holds JSON: for each application the names of its replicas, and of each the gRPC port on 127.0.0.1. There are ports
only, because the calls are not encrypted and carry the secret of stage calls: they must not leave the machine.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter

LOOPBACK = "127.0.0.1"
Replicas = dict[str, dict[str, int]]
_Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
# More replicas of one stage than a machine can run.
_FORMAT = TypeAdapter(dict[str, Annotated[dict[str, _Port], Field(max_length=64)]])


def write_replicas(file: Path, replicas: Replicas) -> None:
    """Replaces the file at once: a reader sees the old content or the new one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    new.write_bytes(_FORMAT.dump_json(replicas))
    os.replace(new, file)


def read_replicas(file: Path) -> Replicas:
    """{} without a file. Raises ValueError if the file has another form, OSError if it cannot be read."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return {}
    return _FORMAT.validate_json(content)
