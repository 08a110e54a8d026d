"""The version of what retrieval stores, Edge and server alike: folders and names, payload, metadata."""

from __future__ import annotations

from services.common.errors import Unavailable

# Raise it with every change that other versions could not read, or would read wrongly.
LAYOUT = 2


def other_layout(place: str, found: str) -> Unavailable:
    """The refusal of a folder, or of a server's collection, that has `found` instead of this layout."""
    return Unavailable(
        f"{place} has {found}, but this version of Kairos reads layout {LAYOUT}; nothing was changed. Import the "
        "catalogue again into an empty place, or restore this state with the version of Kairos that wrote it"
    )
