"""The description of a text version is read as it was written, or refused with the field's name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from services.common.models.text_version import ABOUT, TextVersion, read_text_version, write_text_version

WHOLE = TextVersion("text@0123456789ab", 1.0, 0.15, fusion=True)


def test_written_and_read(tmp_path: Path) -> None:
    """What is written is read again."""
    write_text_version(WHOLE, tmp_path)
    assert read_text_version(tmp_path) == WHOLE


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "all-minilm-l6-v2@1"), ("name", "text@" + 300 * "x"), ("alpha", 0.0), ("alpha", "high"),
        ("beta", -0.1), ("beta", float("nan")), ("fusion", "yes"), ("fusion", None),
    ],
)  # fmt: skip
def test_refused(tmp_path: Path, field: str, value: Any) -> None:
    """A field that is missing or out of range is refused, with the file and the remedy."""
    write_text_version(WHOLE, tmp_path)
    content = json.loads((tmp_path / ABOUT).read_text()) | {field: value}
    (tmp_path / ABOUT).write_text(json.dumps({name: each for name, each in content.items() if each is not None}))
    with pytest.raises(ValueError, match=rf"{ABOUT}.*train it again"):
        read_text_version(tmp_path)
