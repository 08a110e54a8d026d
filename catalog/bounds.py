"""Drops what the contract does not allow in a product, field by field, so that the product itself can be imported."""

from __future__ import annotations

import re
from collections.abc import Callable

from catalog.files import RowRefused
from kairos.common.v1 import product_pb2
from services.common.convert import product_from_proto
from services.common.errors import InvalidArgument
from services.common.product import (
    MAX_ATTRIBUTE_NAME,
    MAX_ATTRIBUTE_VALUES,
    MAX_ATTRIBUTES,
    MAX_VARIANT_ATTRIBUTES,
    violations,
)

# Called with the field and the reason for which its value is not imported.
Warn = Callable[[str, str], None]

_PATH = re.compile(r"(?P<field>\w+)(?:\[(?P<key>.*?)\])?(?P<rest>\..*|)", re.DOTALL)
_VALUE = re.compile(r"\.values\[(\d+)\]")
# A field that is dropped may make another one wrong: a cost without a price.
_ROUNDS = 5


def keep_within_bounds(product: product_pb2.Product, warn: Warn) -> None:
    """Removes what is invalid, and the end of lists that are too long. Raises RowRefused for the id and the title."""
    for _ in range(_ROUNDS):
        try:
            wrong = [(each.field, each.description) for each in violations(product_from_proto(product, ""))]
        except InvalidArgument as error:
            wrong = [(each.field.lstrip("."), each.description) for each in error.violations]
        if not wrong:
            return
        # From the end, so that positions in lists stay right.
        for path, description in reversed(wrong):
            _drop(product, path, description, warn)
    raise RowRefused("row", f"{wrong[0][0]}: {wrong[0][1]}")


def _drop(product: product_pb2.Product, path: str, description: str, warn: Warn) -> None:
    match = _PATH.fullmatch(path)
    field, key, rest = (match["field"], match["key"], match["rest"]) if match else (path, None, "")
    if field in ("id", "title") or field not in product_pb2.Product.DESCRIPTOR.fields_by_name:
        raise RowRefused(field, description)
    if field == "attributes":
        _drop_attribute(product, key, rest)
        warn(f"attributes.{key}" if key else field, description)
        return
    warn(field, description)
    if field.startswith("localized_") and key is not None and key in getattr(product, field):
        del getattr(product, field)[key]
    elif field == "variant_attributes" and key is None:
        del product.variant_attributes[MAX_VARIANT_ATTRIBUTES:]
    else:
        product.ClearField(field)  # type: ignore[arg-type] # the name of any field


def _drop_attribute(product: product_pb2.Product, name: str | None, rest: str) -> None:
    """One value, the values beyond the limit, one attribute, or the attributes beyond the limit."""
    if name is None:
        for extra in sorted(product.attributes)[MAX_ATTRIBUTES:]:
            del product.attributes[extra]
    elif name not in product.attributes:
        # The path of a long name is cut; that of an attribute which was dropped before is not.
        for long in [own for own in product.attributes if len(name) > MAX_ATTRIBUTE_NAME and own.startswith(name)]:
            del product.attributes[long]
    elif (value := _VALUE.fullmatch(rest)) and len(product.attributes[name].values) > 1:
        del product.attributes[name].values[int(value[1])]
    elif rest == ".values" and len(product.attributes[name].values) > MAX_ATTRIBUTE_VALUES:
        del product.attributes[name].values[MAX_ATTRIBUTE_VALUES:]
    else:
        del product.attributes[name]
