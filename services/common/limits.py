"""Limits of fields that several messages have."""

from __future__ import annotations

# Characters of every id: of a product, user, visitor, session, event, ranking or request.
MAX_ID = 128
# Characters of a query's text.
MAX_QUERY = 512
MAX_ATTRIBUTION_TOKEN = 1_024
# Size of an image as it is sent, and after decoding. A telephone's photograph has 12 million pixels.
MAX_IMAGE_BYTES = 8 << 20
MAX_IMAGE_PIXELS = 25_000_000
