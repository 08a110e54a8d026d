"""The JSON file of a long benchmark: finished parts are written at once, and a later run continues from them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Results:
    """The finished parts of a benchmark by name, in the file `path`.

    Raises SystemExit with the remedy if the file has parts that were measured with other `settings`.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self._path = path
        self.parts: dict[str, Any] = {}
        # Through JSON, so that tuples and lists compare equal.
        settings = json.loads(json.dumps(settings))
        if path.is_file():
            saved = json.loads(path.read_text())
            if saved["settings"] != settings:
                raise SystemExit(f"{path} has results of other settings, {saved['settings']}; name another file")
            self.parts = saved["parts"]
        self._settings = settings

    def part(self, name: str, measure: Callable[[], Any]) -> Any:
        """What `measure` returns (JSON); it is called only if no earlier run has finished the part."""
        if name not in self.parts:
            self.parts[name] = measure()
            written = self._path.with_name(f"{self._path.name}.part")
            written.write_text(json.dumps({"settings": self._settings, "parts": self.parts}, indent=1) + "\n")
            written.replace(self._path)
        return self.parts[name]
