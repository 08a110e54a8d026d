"""`kairos control`: what people decide, as YAML: list, read, change, compare, publish, archive, history."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from cli import audit, control_pins
from cli.calls import failed, out, print_json
from cli.control_client import (
    PAGE,
    STATE_PREFIX,
    Listed,
    checked_input,
    client_of,
    connect,
    dictionary_of,
    moment_text,
)
from cli.control_files import as_yaml, content_of, difference, kind_name, kind_number, read_resources
from cli.options import Json
from kairos.control.v1 import control_pb2
from services.common.errors import InvalidArgument

app = typer.Typer(no_args_is_help=True, help=__doc__)
app.callback()(connect)
app.add_typer(control_pins.app, name="pins")
app.add_typer(audit.app, name="audit")
app.command("import-audit")(audit.import_audit)

Kind = Annotated[str, typer.Argument(help="For example synonym_set or merchandising_rule.")]
Id = Annotated[str, typer.Argument(help="Id of the resource.")]
File = Annotated[Path, typer.Argument(help="YAML file with one or more documents: kind, id, content.")]
OfKind = Annotated[str, typer.Option("--kind", help="Only this kind. Default: all.")]


@app.command("list")
def list_resources(
    context: typer.Context,
    kind: OfKind = "",
    state: Annotated[Listed | None, typer.Option(help="Default: drafts and published ones.")] = None,
    text: Annotated[str, typer.Option(help="Only resources whose id or content has this text.")] = "",
    as_json: Json = False,
) -> None:
    """List resources."""
    with checked_input():
        found = client_of(context).resources(kind, state, text)
    if as_json:
        print(json.dumps([dictionary_of(resource) for resource in found], ensure_ascii=False))
        return
    table = Table("kind", "id", "state", "version", "published", "changed by", "changed at", box=None, pad_edge=False)
    for one in found:
        row = (kind_name(one.kind), escape(one.id), _state(one), str(one.version), str(one.published_version or "-"))
        table.add_row(*row, escape(one.changed_by), moment_text(one.updated_at))
    out.print(table)


@app.command()
def get(
    context: typer.Context,
    kind: Kind,
    id: Id,
    published: Annotated[bool, typer.Option(help="The effective content instead of the latest.")] = False,
    as_json: Json = False,
) -> None:
    """Print a resource as YAML, with its etag. `apply` accepts it."""
    with checked_input():
        resource = client_of(context).resource(kind_number(kind), id, published)
    if resource is None:
        raise failed(f"there is no {kind} {id!r}{' with a published version' if published else ''}")
    if as_json:
        print_json(resource)
    else:
        print(as_yaml([resource], with_etag=True), end="")


@app.command()
def apply(
    context: typer.Context,
    file: File,
    publish: Annotated[bool, typer.Option(help="Publish the resources of the file afterwards, all or none.")] = False,
    as_json: Json = False,
) -> None:
    """Create or update the resources of a file as drafts. What has not changed is left alone.

    A document with an etag is refused if the resource has changed since; one without replaces what is there. Exit code
    2 if control refuses one: those before it are stored.
    """
    client = client_of(context)
    with checked_input():
        resources = read_resources(file)
    done = [client.apply(resource) for resource in resources]
    version = client.publish([resource for _, resource in done]).snapshot_version if publish else None
    if as_json:
        listed = [{"kind": kind_name(one.kind), "id": one.id, "outcome": what} for what, one in done]
        print(json.dumps({"resources": listed, "snapshot_version": version}, ensure_ascii=False))
        return
    for what, one in done:
        out.print(f"{what:<10}{kind_name(one.kind)} {escape(one.id)}, version {one.version}")
    if version is not None:
        out.print(f"published, snapshot {version}")


@app.command()
def diff(
    context: typer.Context,
    file: File,
    published: Annotated[bool, typer.Option(help="Compare with what is effective instead of the latest.")] = False,
    as_json: Json = False,
) -> None:
    """Print what `apply` would change. Exit code 0 without a difference, 1 with one, 2 if it cannot be told."""
    client, found = client_of(context), dict[str, str]()
    with checked_input():
        resources = read_resources(file)
    for new in resources:
        old, name = client.resource(new.kind, new.id, published), f"{kind_name(new.kind)}/{new.id}"
        if lines := difference(None if old is None else content_of(old), content_of(new), name):
            found[name] = lines
    print(json.dumps(found, ensure_ascii=False) if as_json else "\n".join(found.values()))
    raise typer.Exit(int(bool(found)))


@app.command()
def publish(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(help="KIND/ID, for example synonym_set/coats.")] = None,
    file: Annotated[Path | None, typer.Option(help="The resources of this YAML file.")] = None,
    drafts: Annotated[bool, typer.Option("--drafts", help="All drafts.")] = False,
    as_json: Json = False,
) -> None:
    """Make drafts effective: all or none of those that are named."""
    client = client_of(context)
    with checked_input():
        wanted = [_named(name) for name in names or ()]
        if file is not None:
            wanted += [(one.kind, one.id) for one in read_resources(file)]
    found = client.resources(state=Listed.DRAFT) if drafts else []
    for kind, id in wanted:
        resource = client.resource(kind, id)
        if resource is None:
            raise failed(f"there is no {kind_name(kind)} {id!r}", exit_code=2)
        if resource not in found:
            found.append(resource)
    if not found:
        raise failed("nothing is to be published", "Name resources as KIND/ID, or use --file or --drafts.", exit_code=2)
    answer = client.publish(found)
    if as_json:
        print_json(answer)
    else:
        out.print(f"published {len(found)}, snapshot {answer.snapshot_version}")


@app.command()
def archive(context: typer.Context, kind: Kind, id: Id, as_json: Json = False) -> None:
    """Remove a resource from what is effective. It stays readable, and an update makes it a draft again."""
    client = client_of(context)
    with checked_input():
        resource = client.resource(kind_number(kind), id)
    if resource is None:
        raise failed(f"there is no {kind} {id!r}", exit_code=2)
    reference = control_pb2.ResourceReference(kind=resource.kind, id=id, etag=resource.etag)
    answer = client.call("ArchiveResource", control_pb2.ArchiveResourceRequest(resource=reference))
    if as_json:
        print_json(answer)
    else:
        out.print(f"archived {kind} {escape(id)}, snapshot {answer.snapshot_version}")


@app.command()
def history(
    context: typer.Context,
    kind: Kind,
    id: Id,
    changes: Annotated[bool, typer.Option("--changes", help="Print the changed lines of each change.")] = False,
    as_json: Json = False,
) -> None:
    """Print who changed a resource, when and how, the newest change first."""
    client = client_of(context)
    with checked_input():
        request = control_pb2.ListRevisionsRequest(kind=kind_number(kind), id=id, page_size=PAGE)
    found: list[control_pb2.Revision] = []
    while True:
        answer = client.call("ListRevisions", request)
        found += answer.revisions
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    if as_json:
        print(json.dumps([dictionary_of(revision) for revision in found], ensure_ascii=False))
        return
    for one in found:
        action = control_pb2.RevisionAction.Name(one.action).removeprefix("REVISION_ACTION_").lower()
        snapshot = f", snapshot {one.snapshot_version}" if one.snapshot_version else ""
        out.print(f"{one.version:>4}  {moment_text(one.changed_at)}  {action:<10}{escape(one.changed_by)}{snapshot}")
        if changes:
            before, after = (content_of(one.before) if one.HasField("before") else None,
                             content_of(one.after) if one.HasField("after") else None)  # fmt: skip
            print(difference(before, after, f"{kind}/{id}"))


@app.command()
def export(
    context: typer.Context,
    kind: OfKind = "",
    latest: Annotated[
        bool, typer.Option(help="The latest contents, drafts too, instead of the effective ones.")
    ] = False,
    file: Annotated[Path | None, typer.Option("--out", help="File to write. Default: standard output.")] = None,
    as_json: Json = False,
) -> None:
    """Write resources as one YAML file that `apply` reads."""
    client = client_of(context)
    with checked_input():
        found = client.resources(kind)
    if not latest:
        found = [
            one
            for one in (client.resource(each.kind, each.id, True) for each in found if each.published_version)
            if one is not None
        ]
    text = json.dumps([dictionary_of(one) for one in found], ensure_ascii=False) if as_json else as_yaml(found)
    if file is None:
        print(text, end="")
    else:
        file.write_text(text, "utf-8")
        out.print(f"wrote {len(found)} resources to {escape(str(file))}")


def _named(name: str) -> tuple[control_pb2.ResourceKind.ValueType, str]:
    kind, slash, id = name.partition("/")
    if not slash or not id:
        raise InvalidArgument.of("names", f"{name!r} is no name; write KIND/ID, for example synonym_set/coats")
    return kind_number(kind), id


def _state(resource: control_pb2.Resource) -> str:
    return control_pb2.ResourceState.Name(resource.state).removeprefix(STATE_PREFIX).lower()
