"""Backups: the state of the suite in one folder with a manifest."""
