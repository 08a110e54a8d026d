"""A digest of a product: shows whether the product has changed since it was stored."""

from __future__ import annotations

import hashlib


def product_fingerprint(serialized: bytes, image: bytes) -> bytes:
    """16 bytes. `serialized`: the product's message, serialized deterministically; `image`: its picture, or empty."""
    content = serialized + (hashlib.blake2b(image).digest() if image else b"")
    return hashlib.blake2b(content, digest_size=16).digest()
