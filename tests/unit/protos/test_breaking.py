"""`make lint` refuses a change of protos/ that a client of the last release would not survive."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

PROTOS = Path(__file__).parents[3] / "protos"
BUF = Path(sysconfig.get_path("scripts")) / "buf"
GATEWAY, COMMON = "kairos/gateway/v1/gateway.proto", "kairos/common/v1/common.proto"

# (file, as it is, as a mistake would make it, what the check says of it)
MISTAKES = {
    "renumbered": (GATEWAY, "string query = 1;", "string query = 77;", 'field "1" with name "query"'),
    "retyped": (GATEWAY, "string user_id = 2;", "int64 user_id = 2;", 'from "string" to "int64"'),
    "renamed": (GATEWAY, "string user_id = 2;", "string shopper_id = 2;", 'from "user_id" to "shopper_id"'),
    "now repeated": (GATEWAY, "string user_id = 2;", "repeated string user_id = 2;", "cardinality"),
    "removed": (COMMON, "  int32 nanos = 3;\n", "", 'field "3" with name "nanos"'),
    "removed, reserved": (COMMON, "  int32 nanos = 3;\n", "  reserved 3;\n", 'field "3" with name "nanos"'),
    "method removed": (
        GATEWAY, "  rpc Suggest(SuggestRequest) returns (SuggestResponse);\n", "", '"Suggest" on service',
    ),
    "method streams": (
        GATEWAY, "rpc Suggest(SuggestRequest)", "rpc Suggest(stream SuggestRequest)", '"Suggest" on service',
    ),
    "enum value removed": (
        COMMON, "  DEGRADATION_REASON_CIRCUIT_OPEN = 5;\n", "", 'enum value "5" on enum "DegradationReason"',
    ),
    "enum value renumbered": (
        COMMON, "DEGRADATION_REASON_CIRCUIT_OPEN = 5;", "DEGRADATION_REASON_CIRCUIT_OPEN = 6;", "enum value",
    ),
    "package renamed": (GATEWAY, "package kairos.gateway.v1;", "package kairos.gateway.v2;", "package"),
}  # fmt: skip


def check(protos: Path) -> subprocess.CompletedProcess[str]:
    command = [str(BUF), "breaking", str(protos), "--against", str(PROTOS / "baseline.binpb")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_present_contracts_keep_the_baseline() -> None:
    """Every client of the last release can go on."""
    answer = check(PROTOS)
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_breaking_change_is_named(tmp_path: Path, mistake: str) -> None:
    """Each of these mistakes is refused, and the message says which field, method or value it is about."""
    name, before, after, named = MISTAKES[mistake]
    protos = shutil.copytree(PROTOS, tmp_path / "protos")
    text = (protos / name).read_text()
    assert before in text
    (protos / name).write_text(text.replace(before, after, 1))
    answer = check(protos)
    assert answer.returncode == 100
    assert named in answer.stdout


def test_an_addition_is_no_break(tmp_path: Path) -> None:
    """A new field, a new method and a new message pass."""
    protos = shutil.copytree(PROTOS, tmp_path / "protos")
    text = (protos / GATEWAY).read_text()
    text = text.replace("string user_id = 2;", "string user_id = 2;\n  string new_name = 900;", 1)
    text = text.replace("  rpc Suggest(", "  rpc Ping(PingRequest) returns (PingResponse);\n  rpc Suggest(", 1)
    (protos / GATEWAY).write_text(f"{text}\nmessage PingRequest {{}}\nmessage PingResponse {{}}\n")
    answer = check(protos)
    assert answer.returncode == 0, answer.stdout + answer.stderr
