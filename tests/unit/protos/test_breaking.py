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

# (file, as it is, as a mistake would make it, what the check says of it); no two touch the same line.
MISTAKES = {
    "renumbered": (GATEWAY, "string query = 1;", "string query = 77;", 'field "1" with name "query"'),
    "retyped": (GATEWAY, "string user_id = 2;", "int64 user_id = 2;", '"SearchRequest" changed type'),
    "renamed": (GATEWAY, "string locale = 4;", "string tongue = 4;", 'name from "locale" to "tongue"'),
    "now repeated": (GATEWAY, "string session_id = 3;", "repeated string session_id = 3;", "cardinality"),
    "removed": (COMMON, "  int32 nanos = 3;\n", "", 'field "3" with name "nanos"'),
    "removed, reserved": (
        GATEWAY, "  bool literal_query = 11;\n", "  reserved 11;\n", 'field "11" with name "literal_query"',
    ),
    "method removed": (
        GATEWAY, "  rpc Suggest(SuggestRequest) returns (SuggestResponse);\n", "", 'RPC "Suggest" on service',
    ),
    "method streams": (
        GATEWAY, "rpc Recommend(RecommendRequest)", "rpc Recommend(stream RecommendRequest)", '"Recommend" on service',
    ),
    "enum value removed": (
        COMMON, "  DEGRADATION_REASON_CIRCUIT_OPEN = 5;\n", "", 'enum value "5" on enum "DegradationReason"',
    ),
    "enum value renumbered": (
        COMMON, "DEGRADATION_REASON_ERROR = 3;", "DEGRADATION_REASON_ERROR = 33;", 'enum value "3" on enum',
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def verdict(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """Of contracts in which all the mistakes were made."""
    protos = shutil.copytree(PROTOS, tmp_path_factory.mktemp("mistaken") / "protos")
    for name, before, after, _ in MISTAKES.values():
        text = (protos / name).read_text()
        assert before in text
        (protos / name).write_text(text.replace(before, after, 1))
    return check(protos)


def check(protos: Path) -> subprocess.CompletedProcess[str]:
    command = [str(BUF), "breaking", str(protos), "--against", str(PROTOS / "baseline.binpb")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_present_contracts_keep_the_baseline() -> None:
    """Every client of the last release can go on."""
    answer = check(PROTOS)
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_breaking_change_is_named(verdict: subprocess.CompletedProcess[str], mistake: str) -> None:
    """Each of these mistakes is refused, and the message says which field, method or value it is about."""
    assert verdict.returncode == 100
    assert MISTAKES[mistake][3] in verdict.stdout


def test_an_addition_is_no_break(tmp_path: Path) -> None:
    """A new field, a new method and a new message pass."""
    protos = shutil.copytree(PROTOS, tmp_path / "protos")
    text = (protos / GATEWAY).read_text()
    text = text.replace("string user_id = 2;", "string user_id = 2;\n  string new_name = 900;", 1)
    text = text.replace("  rpc Suggest(", "  rpc Ping(PingRequest) returns (PingResponse);\n  rpc Suggest(", 1)
    (protos / GATEWAY).write_text(f"{text}\nmessage PingRequest {{}}\nmessage PingResponse {{}}\n")
    answer = check(protos)
    assert answer.returncode == 0, answer.stdout + answer.stderr
