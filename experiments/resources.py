"""Experiments in control: which there are, in which state, and how one is stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToDict
from google.protobuf.timestamp_pb2 import Timestamp

from kairos.control.v1 import control_pb2
from services.common.experiment import Experiment

_KIND = control_pb2.RESOURCE_KIND_EXPERIMENT
_PAGE = 500
MAX_NOTE = 1_000
# Calls a method of control: (its name, the request).
Call = Callable[[str, Any], Any]


class State(Enum):
    DRAFT = "draft"
    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"
    ARCHIVED = "archived"


@dataclass(frozen=True)
class Known:
    """`definition` is the effective one; of an experiment that was never published, the draft."""

    id: str
    state: State
    definition: Experiment


def experiments(call: Call, tenant: str = "", with_archived: bool = False) -> list[Known]:
    """By id."""
    found: list[control_pb2.Resource] = []
    for state in (
        control_pb2.RESOURCE_STATE_UNSPECIFIED,
        *((control_pb2.RESOURCE_STATE_ARCHIVED,) if with_archived else ()),
    ):
        request = control_pb2.ListResourcesRequest(tenant=tenant, kind=_KIND, state=state, page_size=_PAGE)
        while True:
            answer = call("ListResources", request)
            found += answer.resources
            if not answer.next_page_token:
                break
            request.page_token = answer.next_page_token
    return sorted((_known(call, tenant, one) for one in found), key=lambda one: one.id)


def _known(call: Call, tenant: str, resource: control_pb2.Resource) -> Known:
    if resource.state == control_pb2.RESOURCE_STATE_DRAFT and resource.published_version:
        resource = published(call, tenant, resource.id)
        return Known(resource.id, state_of(resource.experiment), definition_of(resource.experiment))
    definition = definition_of(resource.experiment)
    if resource.state == control_pb2.RESOURCE_STATE_DRAFT:
        return Known(resource.id, State.DRAFT, definition)
    if resource.state == control_pb2.RESOURCE_STATE_ARCHIVED:
        return Known(resource.id, State.ARCHIVED, definition)
    return Known(resource.id, state_of(resource.experiment), definition)


def published(call: Call, tenant: str, id: str) -> control_pb2.Resource:
    request = control_pb2.GetResourceRequest(
        tenant=tenant, kind=_KIND, id=id, view=control_pb2.CONTENT_VIEW_PUBLISHED
    )  # fmt: skip
    resource: control_pb2.Resource = call("GetResource", request).resource
    return resource


def definition_of(message: control_pb2.Experiment) -> Experiment:
    return Experiment.model_validate(MessageToDict(message, preserving_proto_field_name=True))


def state_of(message: control_pb2.Experiment, now_s: float | None = None) -> State:
    """Of a published one."""
    now_s = datetime.now(UTC).timestamp() if now_s is None else now_s
    if message.HasField("starts_at") and message.starts_at.ToNanoseconds() / 1e9 > now_s:
        return State.WAITING
    is_over = message.HasField("ends_at") and message.ends_at.ToNanoseconds() / 1e9 <= now_s
    return State.ENDED if is_over else State.RUNNING


def stop(call: Call, tenant: str, id: str, note: str) -> int:
    """Ends a published experiment now, and returns the version of the snapshot. Unpublished changes of it are undone.

    Its definition stays published, so that `kairos experiments show` knows it and its range of the layer is free.
    """
    effective = published(call, tenant, id)
    latest = call("GetResource", control_pb2.GetResourceRequest(tenant=tenant, kind=_KIND, id=id)).resource
    changed = control_pb2.Resource(kind=_KIND, id=id, etag=latest.etag, experiment=effective.experiment)
    changed.experiment.ends_at.CopyFrom(_now())
    if changed.experiment.HasField("starts_at") and changed.experiment.starts_at.ToNanoseconds() >= (
        changed.experiment.ends_at.ToNanoseconds()
    ):
        # It has not begun: it never will.
        changed.experiment.starts_at.seconds = changed.experiment.ends_at.seconds - 1
    changed.experiment.note = note[:MAX_NOTE]
    mask = FieldMask(paths=[f"experiment.{name}" for name in control_pb2.Experiment.DESCRIPTOR.fields_by_name])
    request = control_pb2.UpdateResourceRequest(tenant=tenant, resource=changed, update_mask=mask)
    updated = call("UpdateResource", request).resource
    reference = control_pb2.ResourceReference(kind=_KIND, id=id, etag=updated.etag)
    answer = call("PublishResources", control_pb2.PublishResourcesRequest(tenant=tenant, resources=[reference]))
    return int(answer.snapshot_version)


def _now() -> Timestamp:
    moment = Timestamp()
    moment.GetCurrentTime()
    return moment
