"""How a process follows control."""

from __future__ import annotations

from pathlib import Path

from services.common.server_access import ServerAccessSettings


class ControlAccessSettings(ServerAccessSettings):
    """Control, and how to watch it.

    The key needs the role viewer, and for the gateway editor, since it asks for reviews; a key of all tenants (`*`)
    brings those of all.
    """

    # host:port. Empty: nothing is watched.
    target: str = ""
    # Folder of the last snapshots, which are used while control is down.
    folder: Path = Path("var/published")
