"""Offline evaluation of the ranker's explanations."""
