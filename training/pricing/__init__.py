"""Offline estimates for pricing."""
