"""Protobuf <-> domain for the types that services share. Raises InvalidArgument with the path of the field."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from google.protobuf.timestamp_pb2 import Timestamp

from kairos.common.v1 import common_pb2, product_pb2
from services.common.arrays import FloatArray, Int8Array, unit_rows
from services.common.context import RequestContext, check_tenant
from services.common.convert_moderation import viewing_from_proto, viewing_to_proto, visibility_of
from services.common.errors import InvalidArgument
from services.common.filters import AttributeFilter, PriceRange, ProductFilter, too_many_entries
from services.common.limits import id_problem, language_problem
from services.common.money import Money, from_minor_units, whole_minor_units
from services.common.product import PRICE_BOUNDS, PriceBound, Product

_DTYPES: dict[common_pb2.DataType.ValueType, np.dtype[Any]] = {
    common_pb2.DATA_TYPE_FLOAT32: np.dtype("<f4"),
    common_pb2.DATA_TYPE_FLOAT16: np.dtype("<f2"),
    common_pb2.DATA_TYPE_INT64: np.dtype("<i8"),
    common_pb2.DATA_TYPE_INT8: np.dtype("i1"),
}
_DTYPE_NAMES = {dtype: number for number, dtype in _DTYPES.items()}
_OF_VECTORS = (np.float32, np.float16, np.int8)
_MAX_AXES = 3


def context_from_proto(message: common_pb2.RequestContext) -> RequestContext:
    """The context of a request. Its remaining time counts from this call, so make it first."""
    if problem := id_problem(message.request_id, required=False):
        raise InvalidArgument.of("context.request_id", problem)
    if message.locale and (problem := language_problem(message.locale)):
        raise InvalidArgument.of("context.locale", problem)
    deadline_s = None
    if message.HasField("budget") and message.budget.HasField("remaining"):
        remaining = message.budget.remaining
        deadline_s = time.monotonic() + remaining.seconds + remaining.nanos / 1e9
    return RequestContext(
        message.request_id, check_tenant(message.tenant), message.locale, deadline_s,
        viewing=viewing_from_proto(message),
    )  # fmt: skip


def context_to_proto(context: RequestContext) -> common_pb2.RequestContext:
    message = common_pb2.RequestContext(request_id=context.request_id, tenant=context.tenant, locale=context.locale)
    for experiment, arm in context.experiment_arms:
        message.experiment_arms.add(experiment=experiment, arm=arm)
    viewing_to_proto(context.viewing, message)
    remaining_s = context.remaining_s()
    if math.isfinite(remaining_s):
        message.budget.remaining.FromNanoseconds(int(remaining_s * 1e9))
    return message


def tensor_to_proto(array: npt.NDArray[Any]) -> common_pb2.Tensor:
    """From an array of float32, float16, int64 or int8; other types raise KeyError."""
    message = common_pb2.Tensor()
    _fill_tensor(message, array)
    return message


def tensor_from_proto(message: common_pb2.Tensor, field: str) -> npt.NDArray[Any]:
    """A read-only view on the message's bytes. Refuses wrong lengths, unknown types, NaN and infinity."""
    dtype = _DTYPES.get(message.dtype)
    if dtype is None:
        raise InvalidArgument.of(f"{field}.dtype", f"{message.dtype} is unknown; send FLOAT32, FLOAT16, INT64 or INT8")
    shape = tuple(message.shape)
    if len(shape) > _MAX_AXES or any(axis < 0 for axis in shape):
        raise InvalidArgument.of(f"{field}.shape", f"{shape}: at most {_MAX_AXES} axes, none negative")
    expected = math.prod(shape) * dtype.itemsize
    if expected != len(message.data):
        raise InvalidArgument.of(f"{field}.data", f"has {len(message.data)} bytes; shape {shape} needs {expected}")
    try:
        array: npt.NDArray[Any] = np.frombuffer(message.data, dtype=dtype).reshape(shape)
    except ValueError:  # empty data with a shape beyond the address space
        raise InvalidArgument.of(f"{field}.shape", f"{shape} is too large") from None
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidArgument.of(f"{field}.data", "holds NaN or infinity; every number must be finite")
    return array


def vectors_to_proto(vectors: npt.NDArray[np.floating] | Int8Array, model_version: str) -> common_pb2.Vectors:
    """`vectors` of shape [rows, dimensions]."""
    message = common_pb2.Vectors()
    fill_vectors(message, vectors, model_version)
    return message


def fill_vectors(
    message: common_pb2.Vectors, vectors: npt.NDArray[np.floating] | Int8Array, model_version: str
) -> None:
    """As `vectors_to_proto`, into a part of another message: a message that is given to another one is copied."""
    message.model_version = model_version
    _fill_tensor(message.values, vectors)


def vectors_from_proto(message: common_pb2.Vectors, field: str) -> FloatArray:
    """Shape [rows, dimensions], float32. Rows of int8 are scaled to length 1."""
    rows = _rows(message, field)
    is_direction = message.values.dtype == common_pb2.DATA_TYPE_INT8
    return unit_rows(rows) if is_direction else rows


def unit_vectors_from_proto(message: common_pb2.Vectors, field: str) -> FloatArray:
    """As `vectors_from_proto`, with rows of any type scaled to length 1; zero rows stay zero."""
    return unit_rows(_rows(message, field))


def money_to_proto(money: Money) -> common_pb2.Money:
    units, nanos = money.to_units()
    return common_pb2.Money(currency_code=money.currency, units=units, nanos=nanos)


def money_from_proto(message: common_pb2.Money, field: str) -> Money:
    return Money.from_units(message.currency_code, message.units, message.nanos, field)


def minor_units_from_proto(message: common_pb2.Money, field: str) -> int:
    """The amount in minor units of its currency: cents, whole yen. Another amount raises InvalidArgument."""
    money = money_from_proto(message, field)
    amount = whole_minor_units(money)
    if amount is None:
        raise InvalidArgument.of(field, f"{money.amount} is no whole number of minor units; round it")
    return amount


def minor_units_to_proto(amount: int, currency: str) -> common_pb2.Money:
    """`amount`: in minor units of the currency."""
    return money_to_proto(from_minor_units(currency, amount))


def product_to_proto(product: Product) -> product_pb2.Product:
    message = product_pb2.Product(
        id=product.id,
        title=product.title,
        localized_titles=product.localized_titles,
        description=product.description,
        localized_descriptions=product.localized_descriptions,
        brand=product.brand,
        category_path=product.category_path,
        image_uri=product.image_uri,
        item_group_id=product.item_group_id,
        variant_attributes=product.variant_attributes,
        sku=product.sku,
        gtin=product.gtin,
        mpn=product.mpn,
    )
    for name, values in product.attributes.items():
        message.attributes[name].values.extend(values)
    for name in ("price", *PRICE_BOUNDS):
        money = getattr(product, name)
        if money is not None:
            getattr(message, name).CopyFrom(money_to_proto(money))
    if product.stock is not None:
        message.stock = product.stock
    if product.created_at is not None:
        message.created_at.FromDatetime(product.created_at)
    return message


def product_from_proto(message: product_pb2.Product, field: str) -> Product:
    """Raises InvalidArgument only for unreadable values; `product.violations` checks the bounds.

    Protobuf maps have another order in every process. Maps are sorted by key here, because a product's text, and with
    it its vector, depends on their order.
    """

    def money(name: Literal["price"] | PriceBound) -> Money | None:
        return money_from_proto(getattr(message, name), f"{field}.{name}") if message.HasField(name) else None

    created_at = None
    if message.HasField("created_at"):
        created_at = time_from_proto(message.created_at, f"{field}.created_at")
    return Product(
        id=message.id,
        title=message.title,
        localized_titles=dict(sorted(message.localized_titles.items())),
        description=message.description,
        localized_descriptions=dict(sorted(message.localized_descriptions.items())),
        brand=message.brand,
        category_path=tuple(message.category_path),
        attributes={name: tuple(message.attributes[name].values) for name in sorted(message.attributes)},
        price=money("price"),
        cost=money("cost"),
        price_floor=money("price_floor"),
        price_ceiling=money("price_ceiling"),
        minimum_advertised_price=money("minimum_advertised_price"),
        stock=message.stock if message.HasField("stock") else None,
        created_at=created_at,
        image_uri=message.image_uri,
        item_group_id=message.item_group_id,
        variant_attributes=tuple(message.variant_attributes),
        sku=message.sku,
        gtin=message.gtin,
        mpn=message.mpn,
        visibility=visibility_of(message),
        review_sentiment=message.reviews.sentiment if message.HasField("reviews") else None,
    )


def time_from_proto(message: Timestamp, field: str) -> datetime:
    """A timezone-aware datetime in UTC."""
    try:
        return message.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidArgument.of(field, f"is no time between the years 1 and 9999 ({error})") from None


def time_to_proto(moment: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def price_range_to_proto(price: PriceRange) -> product_pb2.PriceRange:
    ends = {"minimum": price.minimum, "maximum": price.maximum}
    return product_pb2.PriceRange(**{name: money_to_proto(end) for name, end in ends.items() if end is not None})


def filter_from_proto(message: product_pb2.ProductFilter, field: str) -> ProductFilter:
    """Refuses lists that are too long before it reads them; `filter_violations` checks all the rest."""
    if wrong := list(too_many_entries(message, field)):
        raise InvalidArgument(*wrong)
    price = None
    if message.HasField("price"):
        ends = {
            name: money_from_proto(getattr(message.price, name), f"{field}.price.{name}")
            for name in ("minimum", "maximum")
            if message.price.HasField(name)
        }
        price = PriceRange(**ends)
    return ProductFilter(
        categories=tuple(message.categories),
        brands=tuple(message.brands),
        price=price,
        attributes=tuple(map(_attribute_filter, message.attributes)),
        in_stock_only=message.in_stock_only,
        product_types=tuple(message.product_types),
        compatible_with=tuple(message.compatible_with),
    )


def filter_to_proto(narrowing: ProductFilter) -> product_pb2.ProductFilter:
    message = product_pb2.ProductFilter(
        categories=narrowing.categories, brands=narrowing.brands, in_stock_only=narrowing.in_stock_only,
        product_types=narrowing.product_types, compatible_with=narrowing.compatible_with,
    )  # fmt: skip
    for attribute in narrowing.attributes:
        message.attributes.add(
            name=attribute.name, values=attribute.values, minimum=attribute.minimum, maximum=attribute.maximum
        )
    if narrowing.price is not None:
        for name, end in (("minimum", narrowing.price.minimum), ("maximum", narrowing.price.maximum)):
            if end is not None:
                getattr(message.price, name).CopyFrom(money_to_proto(end))
    return message


def _attribute_filter(message: product_pb2.AttributeFilter) -> AttributeFilter:
    return AttributeFilter(
        message.name,
        tuple(message.values),
        message.minimum if message.HasField("minimum") else None,
        message.maximum if message.HasField("maximum") else None,
    )


def _rows(message: common_pb2.Vectors, field: str) -> FloatArray:
    array = tensor_from_proto(message.values, f"{field}.values")
    if array.ndim != 2 or array.dtype not in _OF_VECTORS:
        raise InvalidArgument.of(
            f"{field}.values", f"is {array.dtype} {array.shape}; send floats or int8 [rows, dimensions]"
        )
    if not message.model_version:
        raise InvalidArgument.of(f"{field}.model_version", "is empty; name the model that made the vectors")
    return array.astype(np.float32)


def _fill_tensor(message: common_pb2.Tensor, array: npt.NDArray[Any]) -> None:
    little = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
    message.dtype = _DTYPE_NAMES[little.dtype]
    message.shape.extend(little.shape)
    message.data = little.tobytes()
