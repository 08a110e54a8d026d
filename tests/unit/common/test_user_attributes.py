"""Declared attributes: schemas, what they refuse, and that no protected attribute becomes a feature."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from services.common.attributes_file import load_schemas
from services.common.errors import InvalidArgument
from services.common.protected_attributes import is_protected
from services.common.user_attributes import AttributeSchema, Declared

SCHEMA = """
tenants:
  default:
    size: {type: texts, values: [S, M, L], max_values: 2}
    membership: {type: text, values: [basic, gold]}
    spend: {type: number, minimum: 0, maximum: 100, retention_days: 2}
    birth_year: {type: number, use: fairness}
"""
PROTECTED = (
    "age", "user_age", "ageGroup", "AGE", "date of birth", "dateOfBirth", "birthday", "DOB", "sex", "Gender",
    "gender-identity", "health", "health_condition", "disability", "isPregnant", "religion", "ethnicity", "origin",
    "national_origin", "nationality", "sexualOrientation", "political_opinion", "race", "ｇｅｎｄｅｒ", "g\u200bender",
    "年龄", "用户年龄", "性别", "健康状况", "民族", "国籍", "宗教信仰", "性取向", "出生日期", "怀孕",
)  # fmt: skip
PLAIN = (
    "size", "shoe_size", "membership", "region", "storage", "page_size", "language", "image_style", "unisex_fit",
    "package", "colour", "尺码", "地区", "会员等级", "message", "average_spend", "embrace",
)  # fmt: skip


def loaded(tmp_path: Path, text: str) -> AttributeSchema:
    (tmp_path / "attributes.yaml").write_text(text, "utf-8")
    return load_schemas(tmp_path / "attributes.yaml")["default"]


@pytest.mark.parametrize("name", PROTECTED)
def test_protected_names(name: str) -> None:
    """Names of protected attributes are found in English and Chinese, in any case and with any separators."""
    assert is_protected(name)


@pytest.mark.parametrize("name", PLAIN)
def test_plain_names(name: str) -> None:
    """Other names, also those that contain the letters of a protected one, are not protected."""
    assert not is_protected(name)


@pytest.mark.parametrize(
    ("attribute", "remedy"),
    [
        ("age: {type: number}", "use: fairness"),
        ("性别: {type: text, use: features}", "use: fairness"),
        ("size: {type: colour}", "text"),
        ("size: {type: text, value: [S]}", "remove it or correct"),
        ("Size: {type: text}", "lower-case"),
        ("size: {type: number, values: ['1']}", "use minimum and maximum"),
        ("size: {type: text, max_values: 2}", "remove it"),
        ("size: {type: text, minimum: 2}", "remove them"),
        ("size: {type: text, values: [m, M]}", "twice"),
        ("size: {type: number, minimum: 2, maximum: 1}", "swap"),
        ("size: {type: text, retention_days: 0}", "greater than 0"),
        ("size: {type: text, values: ['']}", "1 to 64"),
    ],
)
def test_an_invalid_schema_is_refused(tmp_path: Path, attribute: str, remedy: str) -> None:
    """The error names file and line, and the remedy."""
    with pytest.raises(InvalidArgument) as refused:
        loaded(tmp_path, f"tenants:\n  default:\n    {attribute}\n")
    (violation,) = refused.value.violations
    assert violation.field.endswith("attributes.yaml:3")
    assert remedy in violation.description


def test_what_a_schema_refuses(tmp_path: Path) -> None:
    """Each wrong entry is named with its field: unknown, of another type, not listed, too many, out of range, twice."""
    asked = [
        Declared("shoe", ("9",)), Declared("size", number=3), Declared("membership", ("silver",)),
        Declared("size", ("S", "M", "L")), Declared("spend", number=101), Declared("spend", ("much",)),
        Declared("birth_year", number=float("nan")),
    ]  # fmt: skip
    schema = loaded(tmp_path, SCHEMA)
    for each, field in zip(asked, ("name", "number", "texts", "texts", "number", "texts", "number"), strict=True):
        with pytest.raises(InvalidArgument) as refused:
            schema.checked([each], 0)
        assert [violation.field for violation in refused.value.violations] == [f"attributes[0].{field}"]
    for many in ([], [Declared(f"a{n}") for n in range(33)]):
        with pytest.raises(InvalidArgument, match="1 to 32"):
            schema.checked(many, 0)
    with pytest.raises(InvalidArgument, match="occurs twice"):
        schema.checked([Declared("size", ("S",)), Declared("size")], 0)


def test_values_are_stored_as_the_schema_spells_them(tmp_path: Path) -> None:
    """Case and order of texts do not matter; each value ends after its retention; an empty value removes any name."""
    asked = [Declared("size", ("m", " S ", "M")), Declared("spend", number=3), Declared("gone")]
    stored, removed = loaded(tmp_path, SCHEMA).checked(asked, 1000.0)
    assert stored == [
        Declared("size", ("M", "S"), None, 1000, 1000 + 400 * 86_400),
        Declared("spend", (), 3, 1000, 1000 + 2 * 86_400),
    ]
    assert removed == ["gone"]


@st.composite
def schemas(draw: st.DrawFn) -> dict[str, dict[str, str]]:
    names = draw(st.sets(st.sampled_from([name.casefold() for name in (*PROTECTED, *PLAIN)]), min_size=1, max_size=9))
    return {name: {"type": "text", "use": draw(st.sampled_from(["features", "fairness"]))} for name in sorted(names)}


@given(schemas(), st.sets(st.sampled_from([*PROTECTED, *PLAIN])))
def test_no_protected_attribute_is_a_feature(
    tmp_path_factory: pytest.TempPathFactory, schema: dict[str, dict[str, str]], stored: set[str]
) -> None:
    """A schema is refused, or nothing that was stored under it or under an earlier one is protected and a feature."""
    file = tmp_path_factory.mktemp("schema") / "attributes.yaml"
    file.write_text(yaml.safe_dump({"tenants": {"default": schema}}, allow_unicode=True), "utf-8")
    wrong = [name for name, rule in schema.items() if rule["use"] == "features" and is_protected(name)]
    try:
        loaded_schema = load_schemas(file)["default"]
    except InvalidArgument:
        assert wrong or any(not name.isprintable() for name in schema)
        return
    assert not wrong
    features = loaded_schema.features([Declared(name, ("x",)) for name in {*stored, *schema}])
    assert {each.name for each in features} == {name for name, rule in schema.items() if rule["use"] == "features"}
    assert not any(is_protected(each.name) for each in features)
