"""Publishes computed prices through the gateway (docs/explanation/pricing.md)."""
