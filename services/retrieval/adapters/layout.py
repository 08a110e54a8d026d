"""The version of what retrieval stores, Edge and server alike: folders and names, payload, metadata."""

from __future__ import annotations

from services.common.errors import Unavailable

# A change that this code could not read, or would read wrongly, raises it.
LAYOUT = 2


def other_layout(place: str, found: str) -> Unavailable:
    """The refusal of a folder, or of a server's collection, that has `found` instead of this layout."""
    return Unavailable(
        f"{place} has {found}; this version of Kairos reads layout {LAYOUT} only, and left it as it was. Import the "
        "catalogue again into an empty place, or go on with the version of Kairos that wrote it"
    )
