"""Protobuf <-> domain for control. Raises InvalidArgument with the path of the field."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.json_format import Error as JsonError
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.timestamp_pb2 import Timestamp

from kairos.control.v1 import control_pb2
from services.common.errors import InvalidArgument
from services.common.limits import text_problem
from services.control.domain.changes import Reference
from services.control.domain.contents import RESOURCE_ID
from services.control.domain.limits import DEFAULT_PAGE, MAX_LIST_TEXT, MAX_MASK_PATHS, MAX_PAGE, MAX_PUBLISHED
from services.control.domain.resources import Content, Effective, Key, Resource, Revision, Snapshot, State
from services.control.ports import Listing

_KIND_PREFIX, _STATE_PREFIX, _ACTION_PREFIX = "RESOURCE_KIND_", "RESOURCE_STATE_", "REVISION_ACTION_"
# Characters of an etag, a page token or a path of a mask.
_MAX_TOKEN = 512
_CONTENTS = control_pb2.Resource.DESCRIPTOR.oneofs_by_name["content"]


def kind_from_proto(number: int, field: str = "kind") -> str:
    known = control_pb2.ResourceKind.values()
    if number not in known or number == control_pb2.RESOURCE_KIND_UNSPECIFIED:
        raise InvalidArgument.of(field, f"is {number}; send one of the kinds {', '.join(map(str, known[1:]))}")
    return control_pb2.ResourceKind.Name(number).removeprefix(_KIND_PREFIX).lower()  # type: ignore[arg-type]


def key_from_proto(message: Any, field: str = "") -> Key:
    """Of a message with `kind` and `id`."""
    kind = kind_from_proto(message.kind, f"{field}kind")
    if not re.fullmatch(RESOURCE_ID, message.id):
        raise InvalidArgument.of(
            f"{field}id", "is no id; send 1 to 63 of a-z, 0-9, '-' and '_', a letter or digit first"
        )
    return Key(kind, message.id)


def reference_from_proto(message: Any, field: str) -> Reference:
    key = key_from_proto(message, field)
    if not message.etag or len(message.etag) > _MAX_TOKEN:
        raise InvalidArgument.of(f"{field}etag", "is missing or too long; send the etag of the resource as it was read")
    return Reference(key, message.etag)


def references_from_proto(messages: Sequence[control_pb2.ResourceReference]) -> list[Reference]:
    if not 1 <= len(messages) <= MAX_PUBLISHED:
        raise InvalidArgument.of("resources", f"holds {len(messages)}; send 1 to {MAX_PUBLISHED}")
    found = [reference_from_proto(message, f"resources[{place}].") for place, message in enumerate(messages)]
    seen = set[Key]()
    for place, reference in enumerate(found):
        if reference.key in seen:
            raise InvalidArgument.of(f"resources[{place}]", f"is {reference.key} again; send it once")
        seen.add(reference.key)
    return found


def content_from_proto(message: control_pb2.Resource) -> Content:
    """The content of `message.kind`, which is the one that must be set."""
    kind = kind_from_proto(message.kind, "resource.kind")
    sent = message.WhichOneof("content")
    if sent != kind:
        raise InvalidArgument.of(f"resource.{kind}", f"is missing: the content is {sent or 'empty'}; send a {kind}")
    try:
        return MessageToDict(getattr(message, kind), preserving_proto_field_name=True)
    except (JsonError, ValueError) as error:
        # A time before the year 1 or after 9999, or with too many nanoseconds.
        raise InvalidArgument.of(f"resource.{kind}", f"has a value that has no JSON form: {error}") from None


def masked(current: Content, sent: Content, kind: str, paths: Sequence[str]) -> Content:
    """`current` with the fields of `paths` as they are in `sent`. A path may end with the key of a map."""
    if len(paths) > MAX_MASK_PATHS:
        raise InvalidArgument.of("update_mask", f"has {len(paths)} paths; at most {MAX_MASK_PATHS}")
    merged = json.loads(json.dumps(current))
    for path in paths:
        if len(path) > _MAX_TOKEN or not _is_path(path, kind):
            raise InvalidArgument.of("update_mask", f"{path[:100]!r} is no field of a {kind}; write {kind}.<field>")
        _replace(merged, sent, path.split(".")[1:])
    return merged  # type: ignore[no-any-return]


def listing_from_proto(request: control_pb2.ListResourcesRequest) -> Listing:
    kind = kind_from_proto(request.kind) if request.kind else ""
    if request.state not in control_pb2.ResourceState.values():
        raise InvalidArgument.of("state", f"is {request.state}; send a ResourceState")
    name = control_pb2.ResourceState.Name(request.state).removeprefix(_STATE_PREFIX).lower()
    if problem := text_problem(request.text, MAX_LIST_TEXT):
        raise InvalidArgument.of("text", problem)
    return Listing(kind, State(name) if request.state else None, request.text)


def page_size_from_proto(size: int, default: int = DEFAULT_PAGE, most: int = MAX_PAGE) -> int:
    if size < 0:
        raise InvalidArgument.of("page_size", f"is {size}; send 0 to {most}")
    return min(size or default, most)


def page_token(*place: str | int) -> str:
    """`place` is what the next page comes after, with what makes the request the same."""
    return base64.urlsafe_b64encode(json.dumps(place, ensure_ascii=False).encode()).decode()


def place_of(token: str, same: Sequence[str | int], types: Sequence[type]) -> list[Any] | None:
    """The rest of the place, of these types, after `same`, which must be that of the token's request. None without a
    token.
    """
    if not token:
        return None
    try:
        place = json.loads(base64.urlsafe_b64decode(token[: 2 * _MAX_TOKEN]))
        rest = place[len(same) :]
        if place[: len(same)] == list(same) and [type(entry) for entry in rest] == list(types):
            return list(rest)
    except (binascii.Error, ValueError, TypeError, RecursionError):
        pass
    raise InvalidArgument.of("page_token", "is not of this request; send the last answer's token, or none")


def resource_to_proto(resource: Resource, content: Content | None = None) -> control_pb2.Resource:
    """Without content unless it is given."""
    message = _with_content(resource.key, content)
    message.etag, message.version, message.changed_by = resource.etag, resource.version, resource.changed_by
    message.state = control_pb2.ResourceState.Value(f"{_STATE_PREFIX}{resource.state.name}")
    message.created_at.CopyFrom(_time(resource.created_us))
    message.updated_at.CopyFrom(_time(resource.updated_us))
    if resource.effective is not None:
        message.published_version = resource.effective.version
        message.published_at.CopyFrom(_time(resource.effective.published_us))
    return message


def revision_to_proto(revision: Revision) -> control_pb2.Revision:
    message = control_pb2.Revision(
        version=revision.version,
        action=control_pb2.RevisionAction.Value(f"{_ACTION_PREFIX}{revision.action.name}"),
        changed_at=_time(revision.changed_us),
        changed_by=revision.changed_by,
        snapshot_version=revision.snapshot_version,
    )
    if revision.before is not None:
        message.before.CopyFrom(_with_content(revision.key, revision.before))
    if revision.after is not None:
        message.after.CopyFrom(_with_content(revision.key, revision.after))
    return message


def snapshot_to_proto(snapshot: Snapshot, kinds: frozenset[str]) -> control_pb2.Snapshot:
    """Only the resources of `kinds`; of all kinds if it is empty."""
    return control_pb2.Snapshot(
        tenant=snapshot.tenant,
        version=snapshot.version,
        published_at=_time(snapshot.published_us),
        resources=[_effective(key, each) for key, each in snapshot.resources if not kinds or key.kind in kinds],
    )


def _effective(key: Key, effective: Effective) -> control_pb2.Resource:
    message = _with_content(key, effective.content)
    message.state = control_pb2.RESOURCE_STATE_PUBLISHED
    message.version = message.published_version = effective.version
    message.published_at.CopyFrom(_time(effective.published_us))
    return message


def _with_content(key: Key, content: Content | None) -> control_pb2.Resource:
    document: dict[str, Any] = {"id": key.id} if content is None else {"id": key.id, key.kind: dict(content)}
    # Fields that a newer version of Kairos has stored are left out.
    message = ParseDict(document, control_pb2.Resource(), ignore_unknown_fields=True)
    message.kind = control_pb2.ResourceKind.Value(f"{_KIND_PREFIX}{key.kind.upper()}")
    return message


def _time(microseconds: int) -> Timestamp:
    moment = Timestamp()
    moment.FromMicroseconds(microseconds)
    return moment


def _is_path(path: str, kind: str) -> bool:
    first, *rest = path.split(".")
    if first != kind or not rest:
        return False
    message: Descriptor | None = next(field.message_type for field in _CONTENTS.fields if field.name == kind)
    while rest:
        name, *rest = rest
        if message is None or (field := message.fields_by_name.get(name)) is None:
            return False
        message = field.message_type
        if field.is_repeated:
            is_map = message is not None and message.GetOptions().map_entry
            return not rest or (is_map and len(rest) == 1)
    return True


def _replace(merged: dict[str, Any], sent: Mapping[str, Any], path: Sequence[str]) -> None:
    name, *rest = path
    if not rest:
        if name in sent:
            merged[name] = sent[name]
        else:
            merged.pop(name, None)
        return
    _replace(merged.setdefault(name, {}), sent.get(name, {}), rest)
