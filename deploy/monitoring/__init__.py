"""Dashboards, recording rules and alerts. The files beside are written by `python -m deploy.monitoring`."""
