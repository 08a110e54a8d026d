"""What tells whether a product has changed since it was stored."""

from __future__ import annotations

import hashlib


def product_fingerprint(serialized: bytes, image: bytes) -> bytes:
    """16 bytes. `serialized`: the product's message, deterministic; `image`: its picture, empty without one."""
    content = serialized + (hashlib.blake2b(image).digest() if image else b"")
    return hashlib.blake2b(content, digest_size=16).digest()
