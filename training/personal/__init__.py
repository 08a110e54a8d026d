"""Personalised product search, offline: from (user, query, item) purchases to a ranking. No service uses it yet."""
