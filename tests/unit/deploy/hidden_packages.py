"""Starts an image's program with other distributions hidden: `python hidden_packages.py IMAGE EXTRA,…`.

Every installed distribution is hidden that those extras of the project do not bring, directly or not. What an image's
environment lacks is then missing here too, without a second environment.
"""

from __future__ import annotations

import re
import sys
import sysconfig
import tomllib
from collections.abc import Iterable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from deploy.checks.image_start import start

PROJECT = "kairos-suite"
_SITE = sysconfig.get_path("purelib")
_PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"


def closure(extras: Iterable[str]) -> set[str]:
    """Names of all distributions that the project needs with `extras`, normalised; versions are pip's matter."""
    table = tomllib.loads(_PYPROJECT.read_text())["project"]
    waiting = [Requirement(line) for line in table["dependencies"]]
    return closure_of([*waiting, *(Requirement(f"{PROJECT}[{extra}]") for extra in extras)])


def closure_of(requirements: Iterable[Requirement]) -> set[str]:
    """The same for a list of requirements."""
    table = tomllib.loads(_PYPROJECT.read_text())["project"]
    found: set[tuple[str, str]] = set()
    waiting = list(requirements)
    while waiting:
        requirement = waiting.pop()
        name = _normal(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) in found:
                continue
            found.add((name, extra))
            lines = table["optional-dependencies"].get(extra, []) if name == PROJECT else _requires(name)
            needed = [Requirement(line) for line in lines]
            waiting += [r for r in needed if r.marker is None or r.marker.evaluate({"extra": extra})]
    return {name for name, _ in found}


def hide_all_but(kept: set[str]) -> None:
    """From here on, top-level packages of other distributions are as good as not installed."""
    owners = packages_distributions()
    hidden = {package for package, names in owners.items() if not {_normal(name) for name in names} & kept}
    sys.meta_path[:] = [_Without(finder, hidden) for finder in sys.meta_path]  # type: ignore[arg-type]


class _Without:
    """A finder that does not find `hidden`: `find_spec("torch")` is None and `import torch` fails, as without it."""

    def __init__(self, finder: MetaPathFinder, hidden: set[str]) -> None:
        self._finder, self._hidden = finder, hidden

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        spec = self._finder.find_spec(name, path, target)
        # A package that lies elsewhere is a copy that another one brings along, as Ray does with psutil.
        is_installed = spec is not None and any(str(place).startswith(_SITE) for place in _places(spec))
        return None if is_installed and name.partition(".")[0] in self._hidden else spec

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)


def _places(spec: ModuleSpec) -> list[str]:
    """The files or folders of a top-level module, without what Ray keeps for itself."""
    places = [*(spec.submodule_search_locations or ()), *([spec.origin] if spec.origin else [])]
    return [place for place in places if "thirdparty_files" not in place]


def _requires(name: str) -> list[str]:
    try:
        return requires(name) or []
    except PackageNotFoundError:  # for another platform
        return []


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    hide_all_but(closure(sys.argv[2].split(",")))
    start(sys.argv[1])
