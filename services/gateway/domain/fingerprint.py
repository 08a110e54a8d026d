"""A digest of a product: shows whether the product has changed since it was stored."""

from __future__ import annotations

import hashlib

FINGERPRINT_BYTES = 16


def product_fingerprint(serialized: bytes, image: bytes) -> bytes:
    """`serialized`: the product's message, serialized deterministically; `image`: its picture, or empty."""
    content = serialized + (hashlib.blake2b(image).digest() if image else b"")
    return hashlib.blake2b(content, digest_size=FINGERPRINT_BYTES).digest()
