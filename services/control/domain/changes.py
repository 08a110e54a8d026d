"""What a change makes of the resources of a tenant. Each function is called inside one transaction of the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from services.common.errors import Aborted, AlreadyExists, Conflict, FieldViolation, InvalidArgument, NotFound
from services.control.domain.limits import MAX_CONTENT_BYTES, MAX_RESOURCES, MAX_SNAPSHOT_BYTES
from services.control.domain.resources import (
    Action,
    Content,
    Effective,
    Key,
    Kind,
    Resource,
    Revision,
    Snapshot,
    State,
    as_json,
)


class TenantView(Protocol):
    """The resources of one tenant as the transaction sees them. Nobody else changes them until it ends."""

    tenant: str
    # Of the newest snapshot; 0: there is none.
    snapshot_version: int

    def resource(self, key: Key) -> Resource | None: ...

    def effective(self) -> dict[Key, Effective]:
        """All published resources."""

    def count(self, kind: str) -> int:
        """The resources of the kind that are not archived."""

    def tenants(self) -> Mapping[str, Content]:
        """The effective contents of the kind TENANT of all tenants, by tenant."""


@dataclass(frozen=True)
class Author:
    """The name of the key, and the time of the change in microseconds since the epoch."""

    name: str
    now_us: int


@dataclass(frozen=True)
class Reference:
    """A resource as a person has seen it."""

    key: Key
    etag: str


@dataclass(frozen=True)
class Changes:
    """What the transaction writes. `resources` are the answer, also where nothing is written."""

    resources: Sequence[Resource]
    revisions: Sequence[Revision] = ()
    snapshot: Snapshot | None = None


# The problems of resources that would be effective together, each with the key of the resource that has it.
CheckTogether = Callable[[TenantView, Mapping[Key, Content]], Sequence[tuple[Key, str]]]


def create(view: TenantView, key: Key, content: Content, author: Author) -> Changes:
    if view.resource(key) is not None:
        raise AlreadyExists(f"{key} exists; update it, or choose another id")
    _check_room(view, key)
    _check_size(key, content)
    made = Resource(key, 1, State.DRAFT, content, None, author.now_us, author.now_us, author.name)
    return Changes([made], [_revision(made, Action.CREATED, None, content, 0)])


def update(view: TenantView, reference: Reference, changed: Callable[[Content], Content], author: Author) -> Changes:
    """`changed` makes the new content of the current one, and raises InvalidArgument."""
    before = _current(view, reference)
    if before.state is State.ARCHIVED:
        _check_room(view, before.key)
    content = changed(before.content)
    _check_size(before.key, content)
    after = _next(before, State.DRAFT, author, content=content)
    return Changes([after], [_revision(after, Action.UPDATED, before.content, content, 0)])


def publish(view: TenantView, references: Sequence[Reference], check: CheckTogether, author: Author) -> Changes:
    found = [_current(view, reference, is_published_fine=True) for reference in references]
    if archived := [resource for resource in found if resource.state is State.ARCHIVED]:
        raise Conflict(f"{archived[0].key} is archived; update it first, which makes it a draft")
    drafts = [resource for resource in found if resource.state is State.DRAFT]
    if not drafts:
        return Changes(found)
    effective = view.effective()
    for resource in drafts:
        effective[resource.key] = Effective(resource.content, resource.version + 1, author.now_us)
    _check_together(view, references, effective, check)
    version = view.snapshot_version + 1
    after = {
        resource.key: _next(resource, State.PUBLISHED, author, effective=effective[resource.key]) for resource in drafts
    }
    revisions = [
        _revision(
            after[resource.key], Action.PUBLISHED, resource.effective.content if resource.effective else None,
            resource.content, version,
        )
        for resource in drafts
    ]  # fmt: skip
    resources = [after.get(resource.key, resource) for resource in found]
    return Changes(resources, revisions, _snapshot(view, version, effective, author))


def archive(view: TenantView, reference: Reference, check: CheckTogether, author: Author) -> Changes:
    before = view.resource(reference.key)
    if before is not None and before.state is State.ARCHIVED:
        return Changes([before])
    before = _current(view, reference)
    after = _next(before, State.ARCHIVED, author, effective=None)
    if before.effective is None:
        return Changes([after], [_revision(after, Action.ARCHIVED, before.content, None, 0)])
    effective, version = view.effective(), view.snapshot_version + 1
    del effective[before.key]
    if problems := check(view, {key: each.content for key, each in effective.items()}):
        key, problem = problems[0]
        raise Conflict(f"without {before.key}, {key} is invalid: {problem}")
    revision = _revision(after, Action.ARCHIVED, before.effective.content, None, version)
    return Changes([after], [revision], _snapshot(view, version, effective, author))


def _current(view: TenantView, reference: Reference, is_published_fine: bool = False) -> Resource:
    """Raises NotFound, and Aborted if the resource is not as the caller has seen it.

    `is_published_fine`: a call that published just what the caller has seen may be repeated.
    """
    resource = view.resource(reference.key)
    if resource is None:
        raise NotFound(f"the tenant has no {reference.key}; `kairos control list` shows what it has")
    if resource.etag == reference.etag or (is_published_fine and _published_as(resource, reference.etag)):
        return resource
    raise Aborted(
        f"{resource.key} was changed by {resource.changed_by!r} and has the version {resource.version}; the change was "
        f"made for {reference.etag!r}: read the resource again, then repeat the change",
        {
            "kind": resource.key.kind,
            "id": resource.key.id,
            "sent_etag": reference.etag,
            "sent_version": reference.etag.split("-")[0],
            "current_etag": resource.etag,
            "current_version": str(resource.version),
            "changed_by": resource.changed_by,
        },
    )


def _published_as(resource: Resource, etag: str) -> bool:
    draft = replace(resource, version=resource.version - 1, state=State.DRAFT)
    return resource.state is State.PUBLISHED and draft.etag == etag


def _next(before: Resource, state: State, author: Author, **changed: object) -> Resource:
    return replace(
        before,
        version=before.version + 1,
        state=state,
        updated_us=author.now_us,
        changed_by=author.name,
        **changed,  # type: ignore[arg-type]
    )


def _revision(
    after: Resource, action: Action, was: Content | None, becomes: Content | None, snapshot_version: int
) -> Revision:
    return Revision(
        after.key, after.version, action, after.updated_us, after.changed_by, was, becomes, snapshot_version
    )


def _snapshot(view: TenantView, version: int, effective: Mapping[Key, Effective], author: Author) -> Snapshot:
    return Snapshot(view.tenant, version, author.now_us, tuple(sorted(effective.items(), key=lambda item: item[0])))


def _check_together(
    view: TenantView, references: Sequence[Reference], effective: Mapping[Key, Effective], check: CheckTogether
) -> None:
    places = {reference.key: f"resources[{place}]" for place, reference in enumerate(references)}
    contents = {key: each.content for key, each in effective.items()}
    problems = [
        FieldViolation(places.get(key, "resources"), problem if key in places else f"{key}: {problem}")
        for key, problem in check(view, contents)
    ]
    if problems:
        raise InvalidArgument(*problems)
    size = sum(len(as_json(content).encode()) for content in contents.values())
    if size > MAX_SNAPSHOT_BYTES:
        raise InvalidArgument.of(
            "resources",
            f"would make {size} bytes effective; at most {MAX_SNAPSHOT_BYTES}: archive what is out of use",
        )


def _check_room(view: TenantView, key: Key) -> None:
    most = MAX_RESOURCES[Kind(key.kind)]
    if view.count(key.kind) >= most:
        raise InvalidArgument.of("resource", f"the tenant has {most} of the kind {key.kind}; archive one first")


def _check_size(key: Key, content: Content) -> None:
    size = len(as_json(content).encode())
    if size > MAX_CONTENT_BYTES:
        raise InvalidArgument.of(f"resource.{key.kind}", f"has {size} bytes as JSON; at most {MAX_CONTENT_BYTES}")
