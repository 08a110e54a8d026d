"""`python -m deploy.secrets [NAME …] > secrets.yaml`: fills in the secrets of deploy/k8s/secrets.example.yaml.

Without names it fills in all secrets, with names only those: `kairos-gateway-tls kairos-qdrant-tls` makes new
certificates.

The command makes random passwords, API keys with the role `write` for you, the price publisher, the biller, the learner
and the stop of experiments (yours is also one of control, with the role admin), keys of control for the gateway,
pricing, sponsored, the price publisher, the biller and the stop of experiments, and certificates of a new authority,
whose key is not stored. The bucket of the snapshots stays a placeholder. The command prints to standard error what is
to be filled in, and your API key: the file has only its digest.
"""

from __future__ import annotations

import hashlib
import secrets
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from deploy.checks.build import Object, example_secrets
from deploy.checks.unfilled import unfilled_problems

_VALID = timedelta(days=365)
_NAMESPACE = "kairos"
# As Qdrant's nodes call each other.
_QDRANT_NODES = tuple(f"kairos-qdrant-{number}.kairos-qdrant-nodes" for number in range(3))
_STAGES = (
    "kairos-query-encoder",
    "kairos-retrieval",
    "kairos-ranker",
    "kairos-pricing",
    "kairos-sponsored",
    "kairos-assistant",
    "kairos-suite",
)


def filled(objects: Sequence[Object], api_key: str, now: datetime) -> list[Object]:
    """The same secrets with values. Certificates are for the Services' names within the cluster."""
    authority = Authority(now)
    publisher_key, billing_key, learner_key, experiments_key, watching_key, reviewing_key, stopping_key = (
        secrets.token_urlsafe(32) for _ in range(7)
    )
    recording_keys = {name: secrets.token_urlsafe(32) for name in ("pricing", "sponsored", "biller")}
    values = {
        "kairos-gateway": {
            "gateway.yaml": _gateway_settings(api_key, publisher_key, billing_key, learner_key, experiments_key),
            "token-key": secrets.token_urlsafe(32),
        },
        "kairos-gateway-tls": authority.certificate("kairos-gateway"),
        "kairos-price-publisher": {"api-key": publisher_key},
        "kairos-price-publisher-tls": authority.certificate("kairos-price-publisher"),
        "kairos-biller": {"api-key": billing_key},
        "kairos-biller-tls": authority.certificate("kairos-biller"),
        "kairos-assistant-tls": authority.certificate("kairos-assistant"),
        "kairos-learner": {"api-key": learner_key},
        "kairos-learner-tls": authority.certificate("kairos-learner"),
        "kairos-experiments": {"api-key": experiments_key, "control-key": stopping_key},
        "kairos-experiments-tls": authority.certificate("kairos-experiments"),
        "kairos-control": {
            "control.yaml": _control_settings(
                root=(api_key, "admin"),
                gateway=(watching_key, "editor"),
                **{name: (key, "recorder") for name, key in recording_keys.items()},
                experiments=(stopping_key, "approver"),
                **{"price-publisher": (reviewing_key, "editor")},
            ),
            "gateway-key": watching_key,
            **{f"{name}-key": key for name, key in recording_keys.items()},
            "price-publisher-key": reviewing_key,
        },
        "kairos-control-tls": authority.certificate("kairos-control"),
        "kairos-postgres": {"password": secrets.token_urlsafe(32)},
        "kairos-postgres-tls": authority.certificate("kairos-postgres"),
        "kairos-stages": {"secret": secrets.token_urlsafe(32)},
        "kairos-stages-tls": authority.certificate(*_STAGES),
        "kairos-qdrant": {"api-key": secrets.token_urlsafe(32)},
        "kairos-qdrant-tls": authority.certificate("kairos-qdrant", *_QDRANT_NODES),
        "kairos-redis": {"password": secrets.token_urlsafe(32)},
        "kairos-redis-tls": authority.certificate("kairos-redis"),
    }
    return [
        {**item, "stringData": {**item["stringData"], **values.get(item["metadata"]["name"], {})}} for item in objects
    ]


class Authority:
    """A certificate authority for the Services' names within the cluster."""

    def __init__(self, now: datetime) -> None:
        self._now, self._key = now, ec.generate_private_key(ec.SECP256R1())
        self._name = _name("Kairos authority")
        self._certificate = self._builder(self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        ).sign(self._key, hashes.SHA256())  # fmt: skip

    def certificate(self, *services: str) -> dict[str, str]:
        """tls.crt, tls.key and ca.crt, for the names of these Services."""
        key = ec.generate_private_key(ec.SECP256R1())
        ends = ("", f".{_NAMESPACE}", f".{_NAMESPACE}.svc")
        names = [*(service + end for service in services for end in ends), "localhost"]
        certificate = self._builder(_name(services[0]), key).add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False
        ).sign(self._key, hashes.SHA256())  # fmt: skip
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {"tls.crt": _pem(certificate), "tls.key": private.decode(), "ca.crt": _pem(self._certificate)}

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return x509.CertificateBuilder(
            self._name, subject, key.public_key(), x509.random_serial_number(), self._now, self._now + _VALID
        )


def _gateway_settings(*api_keys: str) -> str:
    digests = [hashlib.sha256(key.encode()).hexdigest() for key in api_keys]
    keys = [{"sha256": digest, "tenant": "default", "role": "write"} for digest in digests]
    return yaml.safe_dump({"security": {"api_keys": keys}})


def _control_settings(**keys: tuple[str, str]) -> str:
    """By name: the key and its role, for all tenants."""
    entries = [
        {"sha256": hashlib.sha256(key.encode()).hexdigest(), "name": name, "tenant": "*", "role": role}
        for name, (key, role) in keys.items()
    ]
    return yaml.safe_dump({"security": {"api_keys": entries}})


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


if __name__ == "__main__":
    known = {item["metadata"]["name"]: item for item in example_secrets()}
    if unknown := {*sys.argv[1:]} - {*known}:
        raise SystemExit(f"there is no secret {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    wanted = [known[name] for name in sys.argv[1:] or known]
    key = secrets.token_urlsafe(32)
    made = filled(wanted, key, datetime.now(UTC))
    yaml.safe_dump_all(made, sys.stdout, sort_keys=False)
    for problem in unfilled_problems(made):
        print(problem, file=sys.stderr)
    if any(item["metadata"]["name"] == "kairos-gateway" for item in wanted):
        print(f"API key (role write; admin of control): {key}", file=sys.stderr)
