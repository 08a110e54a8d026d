"""Conversion between protobuf and domain is lossless, and refuses invalid messages."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from kairos.common.v1 import common_pb2, product_pb2
from services.common import convert
from services.common.arrays import compact_rows, unit_rows
from services.common.context import RequestContext
from services.common.errors import InvalidArgument
from services.common.limits import id_problem
from services.common.money import Money
from services.common.product import Product

KINDS = (np.float32, np.float16, np.int64, np.int8)
shapes = arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)
tensors = st.sampled_from(KINDS).flatmap(
    lambda kind: arrays_of.arrays(
        kind, shapes, elements={"allow_nan": False, "allow_infinity": False} if issubclass(kind, np.floating) else None
    )
)


@given(tensors)
def test_a_tensor_comes_back(array: npt.NDArray[Any]) -> None:
    """Any array of a supported type keeps its type, its shape and every bit."""
    back = convert.tensor_from_proto(convert.tensor_to_proto(array), "t")
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert back.tobytes() == array.tobytes()


def test_bytes_are_little_endian() -> None:
    """The bytes are the same on every machine, also from an array of the other order or with gaps."""
    arrays: list[npt.NDArray[Any]] = [np.array([1, 2], "<f4"), np.array([1, 2], ">f4"), np.array([1, 9, 2], "<f4")[::2]]
    for array in arrays:
        assert convert.tensor_to_proto(array).data == b"\x00\x00\x80\x3f\x00\x00\x00\x40"


@given(
    st.integers(-1, 5),
    st.lists(st.integers(-2, 4) | st.sampled_from([2**31, 2**62, 2**63 - 1, -(2**63)]), max_size=5),
    st.binary(max_size=64),
)
def test_any_tensor_is_read_or_refused(dtype: int, shape: list[int], data: bytes) -> None:
    """Any tensor becomes an array of its shape, or is refused with a path below its field."""
    message = common_pb2.Tensor(shape=shape, data=data)
    message.dtype = dtype  # type: ignore[assignment]
    try:
        read, field = convert.tensor_from_proto(message, "t").shape, "t."
    except InvalidArgument as error:
        read, field = tuple(shape), error.violations[0].field
    assert read == tuple(shape)
    assert field.startswith("t.")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_only_finite_numbers(kind: type, value: float) -> None:
    """One NaN or infinity refuses the whole tensor."""
    array: npt.NDArray[Any] = np.ones((3, 4), kind)
    array[1, 2] = value
    with pytest.raises(InvalidArgument, match=r"v\.values\.data: holds NaN or infinity"):
        convert.vectors_from_proto(convert.vectors_to_proto(array, "m@1"), "v")


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (common_pb2.Tensor(shape=[1], data=b"abcd"), "t.dtype"),
        (common_pb2.Tensor(dtype=common_pb2.DATA_TYPE_FLOAT32, shape=[2], data=b"abcd"), "t.data"),
        (common_pb2.Tensor(dtype=common_pb2.DATA_TYPE_INT64, shape=[1], data=b"abcd"), "t.data"),
        (common_pb2.Tensor(dtype=common_pb2.DATA_TYPE_FLOAT32, shape=[-1], data=b"abcd"), "t.shape"),
        (common_pb2.Tensor(dtype=common_pb2.DATA_TYPE_FLOAT32, shape=[1] * 4, data=b"abcd"), "t.shape"),
        (common_pb2.Tensor(dtype=common_pb2.DATA_TYPE_FLOAT32, shape=[2**62, 0]), "t.shape"),
    ],
    ids=["kind", "short", "size", "negative", "axes", "rows of nothing"],
)
def test_a_wrong_tensor(message: common_pb2.Tensor, field: str) -> None:
    """An unknown type, a wrong number of bytes and an impossible shape are refused by their paths."""
    with pytest.raises(InvalidArgument) as caught:
        convert.tensor_from_proto(message, "t")
    assert [violation.field for violation in caught.value.violations] == [field]


@pytest.mark.parametrize("array", [np.ones(3, np.float32), np.ones((2, 2), np.int64)], ids=["one axis", "integers"])
def test_vectors_are_rows_of_floats(array: npt.NDArray[Any]) -> None:
    """Vectors have rows and dimensions, and are floats or int8."""
    with pytest.raises(InvalidArgument, match=r"v\.values: "):
        convert.vectors_from_proto(common_pb2.Vectors(values=convert.tensor_to_proto(array), model_version="m@1"), "v")


def test_compact_vectors_are_directions() -> None:
    """Rows of int8 come back with length 1, and their cosines are within 3e-3 of those of the vectors."""
    vectors = np.random.default_rng(0).normal(size=(50, 384)).astype(np.float32)
    read = convert.vectors_from_proto(convert.vectors_to_proto(compact_rows(vectors), "m@1"), "v")
    np.testing.assert_allclose(np.linalg.norm(read, axis=1), 1, atol=1e-6)
    units = unit_rows(vectors)
    np.testing.assert_allclose(read @ read.T, units @ units.T, atol=3e-3)


def test_a_zero_vector_stays_zero() -> None:
    """A row of zeros, for a product without a vector, is zero in int8 and after reading."""
    compact = compact_rows(np.array([[0, 0], [0.5, -1]], np.float32))
    assert compact.tolist() == [[0, 0], [64, -127]]
    assert convert.vectors_from_proto(convert.vectors_to_proto(compact, "m@1"), "v")[0].tolist() == [0, 0]


def test_vectors_name_their_model() -> None:
    """Vectors without a model version are refused: they could be compared with any other."""
    with pytest.raises(InvalidArgument, match=r"v\.model_version: "):
        convert.vectors_from_proto(convert.vectors_to_proto(np.ones((1, 2), np.float32), ""), "v")


texts = st.text(max_size=10)
amounts = st.none() | st.builds(Money, st.sampled_from(["USD", "CNY"]), st.decimals(0, 10**9, places=2))
# Away from both ends of time, where another zone would be out of range.
years = st.datetimes(timezones=st.just(UTC)).filter(lambda moment: 1 < moment.year < 9999)
moments = st.none() | years
products = st.builds(
    Product, id=texts, title=texts, localized_titles=st.dictionaries(texts, texts, max_size=2), description=texts,
    brand=texts, category_path=st.lists(texts, max_size=3).map(tuple),
    attributes=st.dictionaries(texts, st.lists(texts, max_size=3).map(tuple), max_size=3), price=amounts, cost=amounts,
    price_floor=amounts, price_ceiling=amounts, stock=st.none() | st.integers(-5, 10**9), created_at=moments,
    image_uri=texts, item_group_id=texts, variant_attributes=st.lists(texts, max_size=3).map(tuple), sku=texts,
    gtin=texts, mpn=texts,
)  # fmt: skip


@given(products)
def test_a_product_comes_back(product: Product) -> None:
    """Any product keeps all its fields: an absent field stays absent, and a zero stays a zero."""
    assert convert.product_from_proto(convert.product_to_proto(product), "p") == product


def test_maps_are_in_the_order_of_their_keys() -> None:
    """A product's attributes and languages have one order in every process: its vector depends on it."""
    names = [f"name-{number:02}" for number in range(40)]
    message = product_pb2.Product(localized_titles=dict.fromkeys(names, "t"))
    for name in reversed(names):
        message.attributes[name].values.append("v")
        message.localized_descriptions[name] = "d"
    product = convert.product_from_proto(message, "product")
    maps = (product.attributes, product.localized_titles, product.localized_descriptions)
    assert [list(each) for each in maps] == [names, names, names]


@given(
    st.builds(
        RequestContext,
        texts.filter(lambda text: id_problem(text, required=False) is None),
        st.sampled_from(["default", "shop-2", "a_b"]),
        st.sampled_from(["", "en", "zh-Hant-TW"]),
    )
)
def test_a_context_comes_back(context: RequestContext) -> None:
    """A context without a budget keeps all its fields."""
    assert convert.context_from_proto(convert.context_to_proto(context)) == context


@given(st.floats(0.01, 1e6))
def test_a_budget_comes_back(remaining_s: float) -> None:
    """The remaining time is the same on the other side, less the time of the conversion."""
    context = RequestContext(deadline_s=time.monotonic() + remaining_s)
    back = convert.context_from_proto(convert.context_to_proto(context))
    assert back.deadline_s is not None
    assert context.deadline_s is not None
    assert 0 <= back.deadline_s - context.deadline_s + 1e-6 < 0.2


@pytest.mark.parametrize("tenant", ["../up", "UPPER", "-a", "a/b", "a" * 64, "ä", "a\n", "lock", "writes"])
def test_a_tenant_names_folders(tenant: str) -> None:
    """A tenant whose name could leave its folder or split a key is refused."""
    with pytest.raises(InvalidArgument, match=r"^context\.tenant: "):
        convert.context_from_proto(common_pb2.RequestContext(tenant=tenant))


@pytest.mark.parametrize(("field", "value"), [("request_id", "a\nb"), ("locale", "en_US"), ("locale", "e" * 1_000_000)])
def test_the_texts_of_a_context(field: str, value: str) -> None:
    """A stage refuses a request id with control characters, and a locale that is no language tag."""
    with pytest.raises(InvalidArgument, match=rf"^context\.{field}: "):
        convert.context_from_proto(common_pb2.RequestContext(**{field: value}))  # type: ignore[arg-type]


def test_no_tenant_is_the_default() -> None:
    """The default tenant is `default`."""
    assert convert.context_from_proto(common_pb2.RequestContext()).tenant == "default"


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**31), 2**31 - 1))
def test_any_time_is_read_or_refused(seconds: int, nanos: int) -> None:
    """Any timestamp is a time of the years 1 to 9999, or refused by its field."""
    try:
        read, field = convert.time_from_proto(Timestamp(seconds=seconds, nanos=nanos), "t"), ""
    except InvalidArgument as error:
        read, field = None, error.violations[0].field
    assert field == ("t" if read is None else "")


@given(years)
def test_a_time_comes_back(moment: datetime) -> None:
    """A time is exact to the microsecond, in UTC."""
    assert convert.time_from_proto(convert.time_to_proto(moment), "t") == moment


@given(st.none() | st.floats(), st.none() | st.floats())
def test_an_open_end_is_not_zero(minimum: float | None, maximum: float | None) -> None:
    """An attribute's range keeps both ends: an absent one stays open, a zero stays a zero."""
    message = product_pb2.ProductFilter()
    message.attributes.add(name="weight", minimum=minimum, maximum=maximum)
    (read,) = convert.filter_from_proto(message, "filter").attributes
    # By their texts: NaN equals itself there.
    assert (str(read.minimum), str(read.maximum)) == (str(minimum), str(maximum))
