"""The ranker network: examples from the log, training, versions."""
