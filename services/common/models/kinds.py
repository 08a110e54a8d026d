"""The folders of the registries that only the query encoder serves, in a tenant's folder."""

from __future__ import annotations

UNDERSTANDING, PICTURES = "understanding", "pictures"
