"""Settings of the documentation site: `make docs` builds it into build/docs. Nothing is downloaded."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

project = "Kairos"
author = "The authors of Kairos"
project_copyright = author
release = version_of("kairos-suite")

extensions = ["myst_parser", "docs._reference"]
root_doc = "index"
exclude_patterns = ["_reference"]
# Every reference must resolve, also those that Sphinx would let pass.
nitpicky = True

myst_enable_extensions = ["deflist", "tasklist"]
# Headings that a link may name: page.md#heading.
myst_heading_anchors = 4

html_theme = "furo"
html_title = "Kairos"
html_static_path: list[str] = []
html_show_sphinx = False
html_copy_source = False
