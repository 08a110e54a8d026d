"""Who may call a stage, and the settings of both sides."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.common.errors import InvalidArgument, Unauthenticated
from services.common.settings import load_settings
from services.common.stage_access import SECRET_KEY, Doorkeeper, StageAccessSettings

OLD, NEW = "o" * 32, "n" * 43


def settings(tmp_path: Path, text: str) -> StageAccessSettings:
    (tmp_path / "secret").write_text(text)
    return StageAccessSettings(secret_file=tmp_path / "secret")


def test_without_a_secret() -> None:
    """Without a secret every caller is accepted."""
    Doorkeeper().check(None)
    assert StageAccessSettings().secrets() == []


@pytest.mark.parametrize("secret", [OLD, NEW, OLD.encode()])
def test_a_secret_in_change(tmp_path: Path, secret: str | bytes) -> None:
    """Each line of the file is accepted; the gateway sends the first."""
    doorkeeper, secrets = Doorkeeper(), settings(tmp_path, f"{NEW}\n{OLD}\n").secrets()
    doorkeeper.accept_only(secrets)
    doorkeeper.check([("application", "ranker"), (SECRET_KEY, secret)])
    assert secrets[0] == NEW


@pytest.mark.parametrize(
    "metadata", [None, [], [(SECRET_KEY, "")], [(SECRET_KEY, OLD + "x")], [(SECRET_KEY, "密")], [("other", OLD)]]
)
def test_without_the_secret(metadata: list[tuple[str, str]] | None) -> None:
    """A call without the secret, or with another one, is refused, and the message names metadata and setting."""
    doorkeeper = Doorkeeper()
    doorkeeper.accept_only([OLD])
    with pytest.raises(Unauthenticated, match=rf"{SECRET_KEY}.*KAIROS_STAGE_ACCESS_SECRET_FILE"):
        doorkeeper.check(metadata)


@pytest.mark.parametrize("text", ["", "\n\n", "short", f"{OLD}\nshort", "密" * 40])
def test_a_bad_secret(tmp_path: Path, text: str) -> None:
    """An empty, short or non-ASCII secret is refused, and the message names the setting."""
    with pytest.raises(InvalidArgument, match="KAIROS_STAGE_ACCESS_SECRET_FILE"):
        settings(tmp_path, text).secrets()


def test_a_missing_file(tmp_path: Path) -> None:
    """A file that is not there is refused: no stage starts without its secret."""
    with pytest.raises(InvalidArgument, match="cannot be read"):
        StageAccessSettings(secret_file=tmp_path / "none").secrets()


@pytest.mark.parametrize("given", [{"ca": "a", "key": "k"}, {"certificate": "c", "key": "k"}, {"ingress_ca": "a"}])
def test_half_of_tls(given: dict[str, str]) -> None:
    """A certificate without its key, or without the stages' authority, is refused."""
    with pytest.raises(InvalidArgument):
        load_settings(StageAccessSettings, given)
