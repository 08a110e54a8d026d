"""Counts what was shown and bought at which price, from the gateway's log (docs/explanation/pricing.md)."""
