"""Offline: prepare, train, export. torch is needed here only; services never import this."""
