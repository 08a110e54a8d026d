"""What readers of the log take from an attribution token. The gateway makes and checks the tokens."""

from __future__ import annotations

import base64
import json

# In front of the body, which is JSON.
SEAL_BYTES = 9


def ranking_of(token: str) -> str:
    """The ranking id in an attribution token of the log; empty if there is none.

    The seal is not checked: RecordEvents accepted only sealed tokens, and readers of the log need no key.
    """
    try:
        data = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        return str(json.loads(data[SEAL_BYTES:])["ranking_id"])
    except (ValueError, TypeError, KeyError):
        return ""
