"""A/B tests and interleavings: reading the log, comparing arms at any time, the automatic stop, and reports."""
