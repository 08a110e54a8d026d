"""A snapshot of every collection, and the newest seven of each kept. Qdrant writes them to its object storage."""

from __future__ import annotations

import os

from qdrant_client import QdrantClient

KEPT = 7
_TIMEOUT_S = 1_800

if __name__ == "__main__":
    client = QdrantClient(url=os.environ["QDRANT_URL"], api_key=os.environ["QDRANT_API_KEY"], timeout=_TIMEOUT_S)
    for collection in client.get_collections().collections:
        made = client.create_snapshot(collection.name, wait=True)
        print(f"{collection.name}: {made.name if made else 'no snapshot'}", flush=True)
        # Names bear the time; a snapshot without one counts as oldest.
        known = sorted(client.list_snapshots(collection.name), key=lambda s: s.creation_time or "", reverse=True)
        for old in known[KEPT:]:
            client.delete_snapshot(collection.name, old.name, wait=True)
