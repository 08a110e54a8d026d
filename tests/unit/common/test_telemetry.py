"""Spans of calls in a process that exports no traces, and log lines."""

from __future__ import annotations

import errno
import io

import structlog
from opentelemetry import trace

from services.common.telemetry import log_file, span_of_call, with_trace_id

_TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


def test_caller_s_trace_goes_on() -> None:
    """If the caller is traced, calls from here belong to the same trace, although nothing is exported."""
    with span_of_call("Search", [("traceparent", f"00-{_TRACE_ID}-b7ad6b7169203331-01")]):
        assert trace.get_current_span().get_span_context().trace_id == int(_TRACE_ID, 16)


def test_no_trace_begins() -> None:
    """If the caller is not traced, there is no span, and attributes can still be set."""
    with span_of_call("Search", [("user-agent", "grpc")]) as span:
        span.set_status(trace.StatusCode.ERROR)
        assert not span.get_span_context().is_valid
    assert not trace.get_current_span().get_span_context().is_valid


def test_a_line_names_its_trace() -> None:
    """Log lines of a traced call have the trace's id; other log lines have none."""
    with span_of_call("Search", [("traceparent", f"00-{_TRACE_ID}-b7ad6b7169203331-01")]):
        assert with_trace_id(None, "info", {"event": "call"}) == {"event": "call", "trace_id": _TRACE_ID}
    assert with_trace_id(None, "info", {"event": "call"}) == {"event": "call"}


def test_what_cannot_be_written_fails_no_call() -> None:
    """A log line for a full disk or a closed file is lost, without an error for the code that logs."""

    class FullDisk(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    structlog.PrintLogger(log_file(FullDisk())).info("a line")
    closed = io.StringIO()
    closed.close()
    structlog.PrintLogger(log_file(closed)).info("a line")
    written = io.StringIO()
    structlog.PrintLogger(log_file(written)).info("a line")
    assert written.getvalue() == "a line\n"
