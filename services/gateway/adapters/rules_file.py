"""Merchandising rules from YAML files. Fields and bounds: protos/kairos/control/v1/merchandising.proto."""

from __future__ import annotations

import hashlib
from pathlib import Path

from kairos.control.v1 import merchandising_pb2
from services.common.convert_merchandising import checked_rules
from services.common.errors import InvalidArgument
from services.common.merchandising import MAX_RULES_BYTES, RuleSet
from services.common.yaml_message import message_from_yaml

_FIELD = "merchandising_rules"
_DIGEST = 12


def load_rules(file: Path) -> RuleSet:
    """The version is a digest of the file. Raises InvalidArgument that names each wrong field."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InvalidArgument.of(_FIELD, f"{file} cannot be read: {error.strerror}") from None
    if len(data) > MAX_RULES_BYTES:
        raise InvalidArgument.of(_FIELD, f"{file} has {len(data)} bytes; at most {MAX_RULES_BYTES}")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise InvalidArgument.of(_FIELD, f"{file} is not UTF-8; save it as UTF-8") from None
    message = message_from_yaml(text, file.name, merchandising_pb2.MerchandisingRules)
    return RuleSet(hashlib.sha256(data).hexdigest()[:_DIGEST], checked_rules(message.rules))
