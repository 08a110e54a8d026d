"""Build hook: generates the stubs of `protos/` into `gen/`, from where the wheel and editable installs take them.

Also a command: `python hatch_build.py` (what `make stubs` calls). Needs grpcio-tools and mypy-protobuf.
"""

from __future__ import annotations

import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent


def generate_stubs(root: Path = ROOT) -> None:
    """Write `gen/kairos/<package>/v1/*_pb2{,_grpc}.py{,i}`. `kairos` stays a namespace package: no `__init__.py`."""
    from grpc_tools import protoc

    protos, target = root / "protos", root / "gen"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    well_known = Path(protoc.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{protos}", f"-I{well_known}"]
    arguments += [f"--{kind}_out={target}" for kind in ("python", "grpc_python")]
    arguments += [f"--{kind}_out=quiet:{target}" for kind in ("mypy", "mypy_grpc")]
    arguments += [f"--plugin=protoc-gen-{kind}={_plugin(f'protoc-gen-{kind}')}" for kind in ("mypy", "mypy_grpc")]
    if protoc.main(arguments + [str(path) for path in sorted(protos.rglob("*.proto"))]) != 0:
        raise SystemExit("protoc refused protos/; its message stands above")


def _plugin(name: str) -> str:
    """Path of mypy-protobuf's plugin: next to this interpreter, or on the PATH (an isolated build environment)."""
    next_to_python = Path(sys.executable).parent / name
    scripts = Path(sysconfig.get_path("scripts")) / name
    for candidate in (next_to_python, scripts):
        if candidate.exists():
            return str(candidate)
    found = shutil.which(name)
    if found is None:
        raise SystemExit(f"{name} is missing; pip install mypy-protobuf")
    return found


if __name__ == "__main__":
    generate_stubs()
else:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface

    class StubsHook(BuildHookInterface[Any]):
        """Runs before every wheel, editable ones included."""

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            generate_stubs(Path(self.root))
            if version == "standard":  # an editable install reads gen/ itself (dev-mode-dirs)
                build_data["force_include"][str(Path(self.root) / "gen" / "kairos")] = "kairos"
