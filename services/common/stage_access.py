"""Who may call a stage: the secret that the gateway sends with each call, and TLS between the two.

Gateway and stages read the same settings, KAIROS_STAGE_ACCESS_*.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import grpc
import structlog
from pydantic import model_validator
from pydantic_settings import SettingsConfigDict

from services.common.errors import InvalidArgument, Unauthenticated
from services.common.settings import ServiceSettings, load_settings

SECRET_KEY = "kairos-stage-secret"
_MIN_SECRET = 32


class StageAccessSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="KAIROS_STAGE_ACCESS_")

    # File with the secret of stage calls: 32 or more characters of ASCII. The gateway sends the first line, and stages
    # accept each line: a new secret is added, then moved to the first line, and then the old one is removed. None:
    # stages accept every caller.
    secret_file: Path | None = None
    # Of the gateway: PEM file with the authority of the stages' certificates. None: the gateway calls stages without
    # TLS.
    ca: Path | None = None
    # Of the gateway: PEM files with its own certificate and key, if the stages' ingress asks for one.
    certificate: Path | None = None
    key: Path | None = None

    # Of the stages' ingress: PEM file with the certificate of its gRPC port; the key lies beside it as FILE.key. None:
    # the ingress serves without TLS. ops/haproxy.sh reads these settings of the ingress.
    ingress_certificate: Path | None = None
    # Of the stages' ingress: PEM file with the authority of its callers, which then need a certificate. None: they need
    # none.
    ingress_ca: Path | None = None
    # Of the stages' ingress: address on which it serves its metrics and statistics. Empty: all interfaces.
    ingress_host: str = ""

    @model_validator(mode="after")
    def _whole(self) -> StageAccessSettings:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together; set both or none")
        if self.certificate and not self.ca:
            raise ValueError("certificate needs ca, the authority of the stages' certificates")
        if self.ingress_ca and not self.ingress_certificate:
            raise ValueError("ingress_ca needs ingress_certificate")
        return self

    def secrets(self) -> list[str]:
        """The lines of secret_file, not empty; [] without one. Raises InvalidArgument that names the setting."""
        if self.secret_file is None:
            return []
        variable = "KAIROS_STAGE_ACCESS_SECRET_FILE"
        try:
            lines = self.secret_file.read_text("ascii").split()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidArgument.of(variable, f"{self.secret_file} cannot be read: {error}") from None
        if not lines or min(map(len, lines)) < _MIN_SECRET:
            raise InvalidArgument.of(
                variable, f"{self.secret_file}: write {_MIN_SECRET} or more characters in each line"
            )
        return lines

    def credentials(self) -> grpc.ChannelCredentials | None:
        """Of the gateway's channels to the stages; None without TLS."""
        if self.ca is None:
            return None
        return grpc.ssl_channel_credentials(
            self.ca.read_bytes(),
            self.key.read_bytes() if self.key else None,
            self.certificate.read_bytes() if self.certificate else None,
        )


class Doorkeeper:
    """Refuses calls that lack the secret. A process has one, `doorkeeper`."""

    def __init__(self) -> None:
        self._accepted: list[bytes] = []

    def accept_only(self, secrets: Iterable[str]) -> None:
        """From now on. Without secrets every caller is accepted."""
        self._accepted = [secret.encode() for secret in secrets]

    def check(self, metadata: Iterable[Any] | None) -> None:
        """Raises Unauthenticated. `metadata`: (key, value) pairs of the call."""
        if not self._accepted:
            return
        given = next((value for key, value in metadata or () if key == SECRET_KEY), "")
        data = given if isinstance(given, bytes) else given.encode(errors="replace")
        # Each one is compared, so that the time says nothing about which one is right.
        matches = [hmac.compare_digest(data, secret) for secret in self._accepted]
        if True not in matches:
            raise Unauthenticated(
                f"the call does not bring the stage secret in the metadata {SECRET_KEY!r}; call the gateway instead, "
                "or give gateway and stages the same KAIROS_STAGE_ACCESS_SECRET_FILE"
            )


doorkeeper = Doorkeeper()


def guard_stage() -> None:
    """Reads the settings of a stage's process: from now on its methods refuse calls without the secret."""
    secrets = load_settings(StageAccessSettings).secrets()
    if not secrets:
        structlog.get_logger("kairos.stage").warning(
            "every caller is accepted: KAIROS_STAGE_ACCESS_SECRET_FILE is not set"
        )
    doorkeeper.accept_only(secrets)
