"""Learning that never stops: from the event log to versions of the ranker (docs/explanation/learning.md)."""
