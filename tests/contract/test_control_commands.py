"""`kairos control` against a real control: YAML in and out, compare, publish, history; and the commands of its page."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import yaml
from typer.testing import CliRunner

from cli.main import app
from tests.contract.controls import digest_of, key_of
from tests.documentation import ROOT, blocks

PAGES = [ROOT / "docs" / "how-to" / name for name in ("control.md", "evaluate.md")]
TWO = """\
kind: synonym_set
id: coats
synonym_set:
  words: [coat, 外套]
---
kind: campaign
id: spring
campaign:
  advertiser: Acme
  product_ids: [p1]
  payer: Acme Inc.
  bid: {currency_code: EUR, nanos: 400000000}
  daily_budget: {currency_code: EUR, units: "100"}
"""


@dataclass
class Shell:
    """Runs commands in a folder of their own, for a tenant of their own."""

    target: str
    folder: Path
    tenant: str

    def kairos(self, *arguments: str, expected: int = 0, group: str = "control", key: str = "anna") -> str:
        """What a command of `kairos control`, or of another group, prints. `expected` is its exit code."""
        access = ["--target", self.target, "--api-key", key_of(key), "--tenant", self.tenant]
        with chdir(self.folder):
            done = CliRunner().invoke(app, [group, *access, *arguments], env={"COLUMNS": "200"})
        assert done.exit_code == expected, f"{arguments} ended with {done.exit_code}\n{done.output}"
        return done.output

    def run(self, text: str) -> None:
        """A block of a page. Its `kairos` commands run in this process: each would take a second to start."""
        rest = ""
        for line in text.splitlines(keepends=True):
            if not line.startswith(("kairos control ", "kairos reviews ", "kairos campaigns ")):
                rest += line
                continue
            self._bash(rest)
            rest, may_fail = "", line.endswith(" || true\n")
            command, _, file = line.removesuffix(" || true\n").partition(" > ")
            _, group, *arguments = shlex.split(command)
            said = self.kairos(*arguments, expected=int(may_fail), group=group)
            if file:
                self.write(file.strip(), said)
        self._bash(rest)

    def _bash(self, text: str) -> None:
        subprocess.run(["bash", "-euo", "pipefail", "-c", text], cwd=self.folder, check=True)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A control in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "KAIROS_CONTROL_DATA_DIR": str(tmp_path_factory.mktemp("control")),
        "KAIROS_CONTROL_SERVER__PORT": str(port),
        "KAIROS_CONTROL_METRICS__PORT": "0",
        "KAIROS_CONTROL_SECURITY__API_KEYS": json.dumps(
            [
                {"sha256": digest_of("anna"), "name": "anna", "tenant": "*", "role": "admin"},
                {"sha256": digest_of("ben"), "name": "ben", "tenant": "*", "role": "approver"},
                {"sha256": digest_of("carl"), "name": "carl", "tenant": "*", "role": "editor"},
            ]
        ),
    }
    process = subprocess.Popen([sys.executable, "-m", "services.control"], cwd=ROOT, env=environment)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(60)
    yield f"127.0.0.1:{port}"
    process.terminate()
    process.wait()


@pytest.fixture
def shell(target: str, tmp_path: Path) -> Shell:
    return Shell(target, tmp_path, f"t{uuid.uuid4().hex[:8]}")


def test_the_life_of_a_file(shell: Shell) -> None:
    """A file is compared, applied and published; what is exported is the same; a second time nothing changes."""
    shell.write("two.yaml", TWO)
    assert "+- 外套" in shell.kairos("diff", "two.yaml", expected=1)
    applied = json.loads(shell.kairos("apply", "two.yaml", "--publish", "--json"))
    assert [one["outcome"] for one in applied["resources"]] == ["created", "created"]
    assert applied["snapshot_version"] == 1
    assert not shell.kairos("diff", "two.yaml").strip()
    exported = shell.kairos("export")
    assert sorted(map(str, yaml.safe_load_all(exported))) == sorted(map(str, yaml.safe_load_all(TWO)))
    applied = json.loads(shell.kairos("apply", "two.yaml", "--publish", "--json"))
    assert {one["outcome"] for one in applied["resources"]} == {"unchanged"}
    assert applied["snapshot_version"] == 1
    assert "外套" in shell.kairos("history", "synonym_set", "coats", "--changes")
    shell.kairos("archive", "synonym_set", "coats")
    assert [one["id"] for one in json.loads(shell.kairos("list", "--json"))] == ["spring"]


def test_an_outdated_file_is_refused(shell: Shell) -> None:
    """What `get` printed has an etag: applied after another change it is refused, and the message says whose it was."""
    shell.write("two.yaml", TWO)
    shell.kairos("apply", "two.yaml")
    shell.write("mine.yaml", shell.kairos("get", "synonym_set", "coats").replace("外套", "parka"))
    shell.write("two.yaml", TWO.replace("外套", "jacket"))
    shell.kairos("apply", "two.yaml")
    said = shell.kairos("apply", "mine.yaml", expected=2)
    assert "ABORTED" in said
    assert "'anna'" in said


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("kind: synonyms\nid: x\n", "'synonyms' is unknown"),
        ("kind: review\nid: x\nquestion: Why?\n", "belongs under `review:`"),
        ("kind: review\nid: x\nreview: {questions: Why}\n", "questions"),
        ("kind: review\nid: x\nid: y\n", "occurs twice"),
        ("", "has no document"),
        ("kind: synonym_set\nid: x\nsynonym_set: {words: [one]}\n", "resource.synonym_set: words has one text"),
    ],
)
def test_bad_files_are_named(shell: Shell, text: str, problem: str) -> None:
    """The message names the document or field, and the exit code is 2."""
    shell.write("bad.yaml", text)
    assert problem in shell.kairos("apply", "bad.yaml", expected=2)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_page(shell: Shell, page: Path) -> None:
    """Every command of the page that names this file runs."""
    found = [block for block in blocks(page) if block.language == "sh" and "test_control_commands" in block.reason]
    assert found
    for block in found:
        shell.run(block.text)
