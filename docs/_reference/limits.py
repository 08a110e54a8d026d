"""The page of the limits of messages, from the table that the gateway checks."""

from __future__ import annotations

from services.gateway.message_limits import GRPC_MESSAGE_BYTES, MESSAGE_LIMITS

_INTRODUCTION = f"""\
# Limits of messages

The gateway checks each message before it parses it. Above a limit the call is `INVALID_ARGUMENT` of the field
`request`, or of the list that is too long, and the text names the limit. gRPC itself refuses a message above
{GRPC_MESSAGE_BYTES >> 20} MiB, after decompression, with `RESOURCE_EXHAUSTED` and without `RetryInfo`. In all these
cases send fewer entries in a message; to send the same message again does not help.

Fields are counted as protobuf encodes them: each entry of a list, each submessage and each of its fields count once. A
product with a title, two prices and three attributes has about 25 fields. The bounds of single fields are in the
[contract](gateway.md).

| method | bytes | fields | entries of one list |
|---|---:|---:|---:|"""


def limits_page() -> str:
    rows = [
        f"| `{method}` | {limit.size:,} | {limit.fields:,} | {limit.entries:,} |"
        for method, limit in MESSAGE_LIMITS.items()
    ]
    return "\n".join([_INTRODUCTION, *rows]) + "\n"
