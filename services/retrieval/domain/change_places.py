"""The page token of ListProducts: how far the changes of each process of retrieval were read.

Every process numbers the changes of its own copy of the catalogue. Behind one address the pages of a walk come from
several of them: each continues at its own place.
"""

from __future__ import annotations

import base64
import binascii
import struct

from services.common.errors import InvalidArgument

_PLACE = struct.Struct("<QQ")
# Processes that a token remembers, the last ones that gave a page.
MAX_PROCESSES = 32


class ChangePlaces:
    """By process: the number of the last change that was read."""

    def __init__(self, token: str) -> None:
        """Raises InvalidArgument for a damaged token. Empty: nothing was read."""
        try:
            data = base64.b64decode(token, altchars=b"-_", validate=True)
            self._places = dict(_PLACE.iter_unpack(data))
        except (binascii.Error, ValueError, struct.error):
            raise InvalidArgument.of(
                "page_token", "is damaged; send next_page_token as it came, or nothing for the first page"
            ) from None

    def after(self, process: int) -> tuple[int, bool]:
        """(the last change that was read of this process, whether pages of other processes only were read)."""
        return self._places.get(process, 0), bool(self._places) and process not in self._places

    def token(self, process: int, change: int) -> str:
        """With a new place for this process."""
        others = [place for place in self._places.items() if place[0] != process]
        places = [*others, (process, change)][-MAX_PROCESSES:]
        return base64.urlsafe_b64encode(b"".join(_PLACE.pack(*place) for place in places)).decode()
