"""A/B tests: reading the log, comparing arms at any time, the automatic stop, and reports."""
