"""Computes what campaigns owe from the gateway's log, and records it in control (docs/how-to/sponsored-places.md)."""
