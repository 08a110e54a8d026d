"""Policies that propose prices. Each is one file; guardrails bound what they propose."""
