"""A Sphinx extension that writes the reference pages before each build: contracts, limits, settings, commands.

The pages go to docs/reference/generated/, which is not committed. A page that has not changed keeps its time stamp, so
that Sphinx does not read it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sphinx.application import Sphinx

from docs._reference.commands import command_page
from docs._reference.contracts import contract_pages
from docs._reference.limits import limits_page
from docs._reference.settings import settings_page

FOLDER = "reference/generated"


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", _write_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def reference_pages() -> dict[str, str]:
    """Markdown by file name."""
    return {
        **contract_pages(),
        "limits.md": limits_page(),
        "settings.md": settings_page(),
        "kairos.md": command_page(),
    }


def write_changed(folder: Path, pages: Mapping[str, str]) -> None:
    """Make `folder` hold exactly these pages."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)


def _write_pages(app: Sphinx) -> None:
    write_changed(Path(app.srcdir) / FOLDER, reference_pages())
