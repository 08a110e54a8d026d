"""Dashboards, recording rules and alerts. `python -m deploy.monitoring` writes the files beside this one."""
