"""The file with the replicas of a suite on one machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from services.common.replica_file import Replicas, read_replicas, write_replicas


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """The reader gets what was written last; without a file it gets nothing."""
    file = tmp_path / "run" / "replicas.json"
    assert read_replicas(file) == {}
    versions: list[Replicas] = [{"ranker": {"one": 40_000, "two": 40_001}}, {"ranker": {}}]
    for replicas in versions:
        write_replicas(file, replicas)
        assert read_replicas(file) == replicas
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize(
    "content", ["", '{"ranker": {"one": 400', "[]", '{"ranker": {"one": "40000"}}', '{"ranker": {"one": 70000}}']
)
def test_another_form_is_an_error(tmp_path: Path, content: str) -> None:
    """A file that is half-written, or that holds something else than ports, is an error."""
    (tmp_path / "replicas.json").write_text(content)
    with pytest.raises(ValidationError):
        read_replicas(tmp_path / "replicas.json")
