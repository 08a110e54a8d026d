"""Who may do what: the table of methods and roles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from services.common.context import DEFAULT_TENANT, check_tenant
from services.common.errors import PermissionDenied
from services.control.domain.contents import Role
from services.control.domain.resources import Kind

ALL_TENANTS = "*"
# Each role may do what those before it may. The role recorder is none of them.
LADDER: tuple[Role, ...] = ("viewer", "editor", "approver", "admin")
# The least role of the ladder that each method needs.
LEAST_ROLE: Mapping[str, Role] = {
    "GetResource": "viewer",
    "ListResources": "viewer",
    "ListRevisions": "viewer",
    "WatchSnapshots": "viewer",
    "ListEntries": "viewer",
    "GetEntry": "viewer",
    "ListBills": "viewer",
    "CreateResource": "editor",
    "UpdateResource": "editor",
    "PublishResources": "approver",
    "ArchiveResource": "approver",
    # Without keys every caller is an admin: services then record without a key.
    "RecordEntries": "admin",
    "RecordBills": "admin",
    "LeaseBudgets": "admin",
}
# All that a recorder may do.
OF_RECORDERS = frozenset({"RecordEntries", "RecordBills", "ListBills", "LeaseBudgets", "WatchSnapshots"})
# Changes of these kinds need the role admin.
_OF_ADMINS = frozenset({Kind.TENANT.value})


@dataclass(frozen=True)
class Caller:
    """Who calls: the name of the key, its tenant or ALL_TENANTS, and its role."""

    name: str
    tenant: str
    role: Role

    def check(self, method: str, kinds: Iterable[str]) -> None:
        """Raises PermissionDenied unless the role suffices for the method and the kinds that it is about."""
        if self.role == "recorder":
            if method not in OF_RECORDERS:
                raise PermissionDenied(
                    f"{method} needs a key of another role; a recorder may only record, list bills, lease "
                    "budgets and watch"
                )
            return
        least = LEAST_ROLE[method]
        if least != "viewer" and not _OF_ADMINS.isdisjoint(kinds):
            least = "admin"
        if LADDER.index(self.role) < LADDER.index(least):
            raise PermissionDenied(f"{method} needs a key with the role {least!r} here; this one has {self.role!r}")

    def tenant_of(self, asked: str) -> str:
        """The tenant that a request is about. Raises PermissionDenied and InvalidArgument."""
        if self.tenant == ALL_TENANTS:
            return check_tenant(asked or DEFAULT_TENANT, "tenant")
        if asked not in ("", self.tenant):
            raise PermissionDenied(f"the key is of the tenant {self.tenant!r}; leave `tenant` empty")
        return self.tenant

    def sees(self, tenant: str) -> bool:
        return self.tenant in (ALL_TENANTS, tenant)
