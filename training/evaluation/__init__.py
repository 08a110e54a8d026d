"""Off-policy evaluation and uplift: what another policy would have been worth, from a log of known propensities."""
