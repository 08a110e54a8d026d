"""Baselines of next-item prediction: counts, linear models, a sequence network of ids, and boosted trees. Offline."""
