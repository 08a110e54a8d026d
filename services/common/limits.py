"""Limits of fields that several messages have. Each is a number of characters."""

from __future__ import annotations

# Every id: of a product, user, visitor, session, event, ranking or request.
MAX_ID = 128
# The text of a query.
MAX_QUERY = 512
MAX_ATTRIBUTION_TOKEN = 1_024
