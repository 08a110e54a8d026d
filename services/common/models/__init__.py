"""Versions of trained models: their registries, rollouts, and loading them while requests are answered."""
