"""A snapshot of every collection by each node of Qdrant, of which the newest seven are kept. Qdrant uploads them."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from qdrant_client import QdrantClient

KEPT = 7
_TIMEOUT_S = 1_800
_PORT = 6333


def node_urls(client: QdrantClient) -> list[str]:
    """A node makes snapshots of its own shards only. Nodes know each other by the URLs of their own port."""
    peers = getattr(client.cluster_status(), "peers", {})
    return [f"https://{urlsplit(peer.uri).hostname}:{_PORT}" for peer in peers.values()]


def connect(url: str) -> QdrantClient:
    return QdrantClient(url=url, api_key=os.environ["QDRANT_API_KEY"], timeout=_TIMEOUT_S)


if __name__ == "__main__":
    client = connect(os.environ["QDRANT_URL"])
    names = [collection.name for collection in client.get_collections().collections]
    urls = node_urls(client)
    for url in urls:
        node = connect(url)
        for name in names:
            made = node.create_snapshot(name, wait=True)
            print(f"{url} {name}: {made.name if made else 'no snapshot'}", flush=True)
    for name in names:
        # The bucket has those of all nodes. Names bear the time; a snapshot without one counts as oldest.
        known = sorted(client.list_snapshots(name), key=lambda s: s.creation_time or "", reverse=True)
        for old in known[KEPT * len(urls) :]:
            client.delete_snapshot(name, old.name, wait=True)
