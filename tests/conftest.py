"""Logs of the code under test stay out of the tests' output; no example fails for being slow."""

from __future__ import annotations

import logging

import hypothesis
import structlog

# On a machine with other work a slow example says nothing about the code.
hypothesis.settings.register_profile("kairos", deadline=None)
hypothesis.settings.load_profile("kairos")
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
