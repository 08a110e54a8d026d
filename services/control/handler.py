"""ControlService: check the key and its role, parse, call, wrap."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable

import structlog

from kairos.control.v1 import control_pb2, control_pb2_grpc
from services.common.call_limit import CallLimit
from services.common.errors import InvalidArgument, NotFound, Unavailable
from services.common.rpc import set_status
from services.control import convert
from services.control.calls import Context, control_call
from services.control.domain import changes
from services.control.domain.changes import Author, Changes, TenantView
from services.control.domain.limits import MAX_PAGE_BYTES
from services.control.domain.permissions import Caller
from services.control.domain.resources import Content, Key, Resource, as_json
from services.control.feed import SnapshotFeed
from services.control.keyring import Keyring
from services.control.metrics import ControlMetrics
from services.control.ports import ControlStore
from services.control.threads import Threads
from services.control.validation import check_content, check_together

# Open watch streams of a process.
_MOST_WATCHERS = 1_000
# Rows that are read at a time: contents are large.
_ROWS = 50
# Seconds after which a stream looks whether its key has expired.
_KEY_CHECK_S = 10.0

_log = structlog.get_logger("kairos.control")


class ControlHandler(control_pb2_grpc.ControlServiceServicer):
    """`clock` gives seconds since the epoch."""

    def __init__(
        self, store: ControlStore, keyring: Keyring, feed: SnapshotFeed, threads: Threads, metrics: ControlMetrics,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._store, self._feed, self._threads, self._clock = store, feed, threads, clock
        self.keyring, self.metrics = keyring, metrics
        self._watchers = CallLimit("WatchSnapshots", _MOST_WATCHERS)

    @control_call(control_pb2.CreateResourceResponse, lambda request: [request.resource.kind])
    async def CreateResource(
        self, request: control_pb2.CreateResourceRequest, caller: Caller, tenant: str
    ) -> control_pb2.CreateResourceResponse:
        key, content = (
            convert.key_from_proto(request.resource, "resource."),
            convert.content_from_proto(request.resource),
        )
        check_content(tenant, key, content)
        author = self._author(caller)
        made = await self._change(tenant, lambda view: changes.create(view, key, content, author))
        return control_pb2.CreateResourceResponse(resource=convert.resource_to_proto(made.resources[0], content))

    @control_call(control_pb2.GetResourceResponse, lambda request: [request.kind])
    async def GetResource(
        self, request: control_pb2.GetResourceRequest, caller: Caller, tenant: str
    ) -> control_pb2.GetResourceResponse:
        resource = await self._found(tenant, convert.key_from_proto(request))
        content: Content = resource.content
        if request.view == control_pb2.CONTENT_VIEW_PUBLISHED:
            if resource.effective is None:
                raise NotFound(f"{resource.key} has no published version; publish it first")
            content = resource.effective.content
        return control_pb2.GetResourceResponse(resource=convert.resource_to_proto(resource, content))

    @control_call(control_pb2.ListResourcesResponse, lambda request: [request.kind])
    async def ListResources(
        self, request: control_pb2.ListResourcesRequest, caller: Caller, tenant: str
    ) -> control_pb2.ListResourcesResponse:
        listing, most = convert.listing_from_proto(request), convert.page_size_from_proto(request.page_size)
        same = (tenant, request.kind, request.state, request.text)
        place = convert.place_of(request.page_token, same, (str, str))
        after = Key(place[0], place[1]) if place else None
        found: list[Resource] = []
        size, is_last = 0, False
        while len(found) < most and size < MAX_PAGE_BYTES and not is_last:
            rows = min(_ROWS, most - len(found))
            more = await self._threads.run(self._store.resources, tenant, listing, after, rows)
            is_last = len(more) < rows
            for resource in more:
                if size < MAX_PAGE_BYTES:
                    found.append(resource)
                    size += len(as_json(resource.content))
                else:
                    is_last = False
            after = found[-1].key if found else None
        return control_pb2.ListResourcesResponse(
            resources=[convert.resource_to_proto(resource, resource.content) for resource in found],
            next_page_token="" if is_last or after is None else convert.page_token(*same, after.kind, after.id),
        )

    @control_call(control_pb2.UpdateResourceResponse, lambda request: [request.resource.kind])
    async def UpdateResource(
        self, request: control_pb2.UpdateResourceRequest, caller: Caller, tenant: str
    ) -> control_pb2.UpdateResourceResponse:
        reference = convert.reference_from_proto(request.resource, "resource.")
        sent, paths = convert.content_from_proto(request.resource), list(request.update_mask.paths)

        def changed(current: Content) -> Content:
            content = convert.masked(current, sent, reference.key.kind, paths) if paths else sent
            check_content(tenant, reference.key, content)
            return content

        author = self._author(caller)
        made = await self._change(tenant, lambda view: changes.update(view, reference, changed, author))
        resource = made.resources[0]
        return control_pb2.UpdateResourceResponse(resource=convert.resource_to_proto(resource, resource.content))

    @control_call(control_pb2.PublishResourcesResponse, lambda request: [one.kind for one in request.resources])
    async def PublishResources(
        self, request: control_pb2.PublishResourcesRequest, caller: Caller, tenant: str
    ) -> control_pb2.PublishResourcesResponse:
        references, author = convert.references_from_proto(request.resources), self._author(caller)
        made, version = await self._publish(
            tenant, lambda view: changes.publish(view, references, check_together, author)
        )
        return control_pb2.PublishResourcesResponse(
            resources=map(convert.resource_to_proto, made.resources), snapshot_version=version
        )

    @control_call(control_pb2.ArchiveResourceResponse, lambda request: [request.resource.kind])
    async def ArchiveResource(
        self, request: control_pb2.ArchiveResourceRequest, caller: Caller, tenant: str
    ) -> control_pb2.ArchiveResourceResponse:
        reference, author = convert.reference_from_proto(request.resource, "resource."), self._author(caller)
        made, version = await self._publish(
            tenant, lambda view: changes.archive(view, reference, check_together, author)
        )
        return control_pb2.ArchiveResourceResponse(
            resource=convert.resource_to_proto(made.resources[0]), snapshot_version=version
        )

    @control_call(control_pb2.ListRevisionsResponse, lambda request: [request.kind])
    async def ListRevisions(
        self, request: control_pb2.ListRevisionsRequest, caller: Caller, tenant: str
    ) -> control_pb2.ListRevisionsResponse:
        key, most = convert.key_from_proto(request), convert.page_size_from_proto(request.page_size)
        same = (tenant, key.kind, key.id)
        place = convert.place_of(request.page_token, same, (int,))
        await self._found(tenant, key)
        # A revision holds up to two contents; a page of the largest ones stays below the size of a message.
        rows = min(most, _ROWS // 2)
        found = await self._threads.run(self._store.revisions, tenant, key, place[0] if place else None, rows)
        token = convert.page_token(*same, found[-1].version) if len(found) == rows and found[-1].version > 1 else ""
        return control_pb2.ListRevisionsResponse(revisions=map(convert.revision_to_proto, found), next_page_token=token)

    async def WatchSnapshots(
        self, request: control_pb2.WatchSnapshotsRequest, context: Context
    ) -> AsyncIterator[control_pb2.WatchSnapshotsResponse]:
        try:
            with self._watchers, self.metrics.watchers.track_inprogress():
                async for snapshot in self._snapshots(request, context):
                    yield control_pb2.WatchSnapshotsResponse(snapshot=snapshot)
        except Exception as error:
            code = set_status(context, error)
            self.metrics.requests.labels("WatchSnapshots", code.name).inc()

    async def _snapshots(
        self, request: control_pb2.WatchSnapshotsRequest, context: Context
    ) -> AsyncIterator[control_pb2.Snapshot]:
        kinds = [convert.kind_from_proto(kind, f"kinds[{place}]") for place, kind in enumerate(request.kinds)]
        if len(set(kinds)) < len(kinds):
            raise InvalidArgument.of("kinds", "has a kind twice; send each once")
        sent: dict[str, int] = {}
        while not self._feed.is_closed:
            # Again each time: the key may have been removed, or have expired.
            caller = self.keyring.caller(context.invocation_metadata() or ())
            caller.check("WatchSnapshots", kinds)
            only = caller.tenant_of(request.tenant) if request.tenant else ""
            versions = self._feed.versions
            for tenant, version in versions.items():
                if sent.get(tenant) == version or not caller.sees(tenant) or only not in ("", tenant):
                    continue
                snapshot = await self._feed.snapshot(tenant, frozenset(kinds))
                if snapshot is not None and sent.get(tenant) != snapshot.version:
                    yield snapshot
                    sent[tenant] = snapshot.version
            if self._feed.versions is versions:
                await self._feed.changed(_KEY_CHECK_S)
        raise Unavailable("control is stopping; connect again")

    async def _found(self, tenant: str, key: Key) -> Resource:
        resource = await self._threads.run(self._store.resource, tenant, key)
        if resource is None:
            raise NotFound(f"the tenant has no {key}; `kairos control list` shows what it has")
        return resource

    async def _publish(self, tenant: str, decide: Callable[[TenantView], Changes]) -> tuple[Changes, int]:
        """The changes, and the version of the snapshot that has them."""
        seen: list[int] = []

        def decided(view: TenantView) -> Changes:
            seen[:] = [view.snapshot_version]
            return decide(view)

        made = await self._change(tenant, decided)
        if made.snapshot is None:
            return made, seen[0]
        self._feed.wake()
        _log.info("published", version=made.snapshot.version, keys=[str(one.key) for one in made.revisions][:20])
        return made, made.snapshot.version

    async def _change(self, tenant: str, decide: Callable[[TenantView], Changes]) -> Changes:
        return await self._threads.run(self._store.change, tenant, decide)

    def _author(self, caller: Caller) -> Author:
        return Author(caller.name, int(self._clock() * 1e6))
