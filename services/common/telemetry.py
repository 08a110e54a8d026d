"""Structured logs and traces, configured once per process from settings."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal, TextIO, cast

import structlog
from opentelemetry import propagate, trace
from pydantic import BaseModel, ConfigDict

from services.common.personal_data import without_personal_data

LogLevel = Literal["debug", "info", "warning", "error"]
_is_tracing = False
# Fields of log lines whose text may come from a request.
_QUOTING = frozenset({"error", "exception", "problem"})


class TelemetrySettings(BaseModel):
    """Logs and traces of a process."""

    model_config = ConfigDict(extra="forbid")

    log_level: LogLevel = "info"
    log_format: Literal["json", "console"] = "json"
    # host:port of an OTLP gRPC collector. Empty: no traces.
    otlp_endpoint: str = ""
    # Share of requests that are traced. The gateway decides; the services follow its decision.
    trace_sampling_ratio: float = 1.0


def configure_telemetry(service: str, settings: TelemetrySettings) -> None:
    """Log lines go to standard error, spans to the collector if one is configured."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if settings.log_format == "json" else structlog.dev.ConsoleRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            hide_personal_data,
            _named(service),
            with_trace_id,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(settings.log_level.upper())),
        logger_factory=structlog.PrintLoggerFactory(log_file(sys.stderr)),
        cache_logger_on_first_use=True,
    )
    if settings.otlp_endpoint:
        _configure_traces(service, settings)


# A closed file raises ValueError.
_NOT_WRITTEN = (OSError, ValueError)


def log_file(file: TextIO) -> TextIO:
    """Writes to `file`. A line that cannot be written is lost: neither a full disk nor a closed file may fail the call
    that logs it.
    """
    return cast(TextIO, _LogFile(file))


class _LogFile(io.TextIOBase):
    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        with suppress(*_NOT_WRITTEN):
            self._file.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(*_NOT_WRITTEN):
            self._file.flush()


@contextmanager
def span_of_call(name: str, metadata: Iterable[tuple[str, Any]] | None) -> Iterator[trace.Span]:
    """A server span that continues the caller's trace. It costs almost nothing while traces are off."""
    carrier = {key: value for key, value in metadata or () if isinstance(value, str)}
    if not _is_tracing and carrier.keys().isdisjoint(propagate.get_global_textmap().fields):
        # There is no trace to continue or to start.
        yield trace.INVALID_SPAN
        return
    tracer = trace.get_tracer("kairos")
    with tracer.start_as_current_span(name, context=propagate.extract(carrier), kind=trace.SpanKind.SERVER) as span:
        yield span


@contextmanager
def span_of_stage(name: str) -> Iterator[tuple[tuple[str, str], ...]]:
    """A client span around a call to a stage, and the metadata that continue the trace there. Costs almost nothing
    without a trace.
    """
    if not _is_tracing and not trace.get_current_span().get_span_context().is_valid:
        yield ()
        return
    with trace.get_tracer("kairos").start_as_current_span(name, kind=trace.SpanKind.CLIENT):
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        yield tuple(carrier.items())


def with_trace_id(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Adds the trace id to log lines that are written during a traced call."""
    context = trace.get_current_span().get_span_context()
    return {**event, "trace_id": trace.format_trace_id(context.trace_id)} if context.is_valid else event


def hide_personal_data(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Errors may quote what a shopper wrote."""
    for key in _QUOTING & event.keys():
        event[key] = without_personal_data(str(event[key]))
    return event


def _named(service: str) -> structlog.typing.Processor:
    def add(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["service"] = service
        return event

    return add


def _configure_traces(service: str, settings: TelemetrySettings) -> None:
    global _is_tracing
    # Imported here: without traces no process loads the SDK and its exporter.
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    provider = TracerProvider(
        resource=Resource.create({"service.name": f"kairos-{service}"}),
        sampler=ParentBased(TraceIdRatioBased(settings.trace_sampling_ratio)),
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(settings.otlp_endpoint, insecure=True)))
    trace.set_tracer_provider(provider)
    _is_tracing = True
