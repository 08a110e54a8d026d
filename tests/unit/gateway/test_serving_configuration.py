"""Serving configurations: what a file may say, and what happens when it changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.common.errors import InvalidArgument
from services.common.serving_configuration import Source
from services.gateway.adapters.serving_file import embedded_configuration, load_configuration
from services.gateway.background.serving import Serving
from services.gateway.metrics import Metrics

BUILT_IN = {
    "home", "similar-items", "bought-together", "cart-add-ons", "buy-again", "trending", "recently-viewed",
    "category-page",
}  # fmt: skip
OWN = "version: v1\nplacements:\n  footer:\n    sources: [{source: trending}]\n"


def written(folder: Path, text: str) -> Path:
    file = folder / "serving.yaml"
    file.write_text(text, "utf-8")
    return file


def problems(folder: Path, text: str) -> dict[str, str]:
    """The wrong fields of a file, with their descriptions."""
    with pytest.raises(InvalidArgument) as caught:
        load_configuration(written(folder, text))
    return {wrong.field: wrong.description for wrong in caught.value.violations}


def placement(**lines: str) -> str:
    body = {"sources": "[{source: popular}]"} | lines
    return "version: v\nplacements:\n  p:\n" + "".join(f"    {key}: {value}\n" for key, value in body.items())


def test_the_embedded_placements() -> None:
    """All built-in placements are there; without products of the page those that need them say so."""
    placements = embedded_configuration().placements
    assert set(placements) == BUILT_IN
    needy = {name for name, one in placements.items() if one.needs_products}
    assert needy == {"similar-items", "bought-together", "cart-add-ons"}


def test_a_file_goes_over_the_embedded_placements(tmp_path: Path) -> None:
    """A shop's own placement is added, one of the same name is replaced, and the version is the shop's."""
    file = written(tmp_path, OWN + "  home:\n    sources: [{source: popular, quota: 7}]\n")
    configuration = load_configuration(file)
    assert set(configuration.placements) == BUILT_IN | {"footer"}
    assert configuration.placements["home"].sources[0].quota == 7
    assert configuration.full_version.startswith("v1+")


def test_the_version_tells_contents_apart(tmp_path: Path) -> None:
    """Two files with the same version and other content have different full versions."""
    first = load_configuration(written(tmp_path, OWN)).full_version
    assert load_configuration(written(tmp_path, OWN)).full_version == first
    assert load_configuration(written(tmp_path, OWN.replace("trending", "popular"))).full_version != first


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "serving_configuration"),
        ("version: v\nplacements: {}\n", "placements"),
        ("version: a b\nplacements: {p: {sources: [{source: popular}]}}\n", "version"),
        ("version: v\nplacements: {P_1: {sources: [{source: popular}]}}\n", "placements.P_1.[key]"),
        (placement(sources="[]"), "placements.p.sources"),
        (placement(sources="[{source: magic}]"), "placements.p.sources[0].source"),
        (placement(sources="[{source: popular, quota: 501}]"), "placements.p.sources[0].quota"),
        (placement(sources="[{source: popular, weight: 0}]"), "placements.p.sources[0].weight"),
        (placement(sources="[{source: popular}, {source: popular}]"), "placements.p"),
        (placement(sources="[{source: popular, if_fewer_than: 3}]"), "placements.p"),
        (placement(slate="{brand_cap: 0}"), "placements.p.slate.brand_cap"),
        (placement(slate="{diversity: 1.1}"), "placements.p.slate.diversity"),
        (placement(business="{margin_weight: 0.31}"), "placements.p.business.margin_weight"),
        (placement(business="{freshness_weight: -1}"), "placements.p.business.freshness_weight"),
        (placement(slate="{order: source}", business="{margin_weight: 0.1}"), "placements.p"),
        (placement(filters="{in_stok_only: true}"), "placements.p.filters.in_stok_only"),
        (placement(minimum_results="101"), "placements.p.minimum_results"),
        (placement(fallback="[nothing]"), "placements.p.fallback[0]"),
        ("version: v\nversion: w\n", "serving_configuration"),
        ("version: [", "serving_configuration"),
    ],
)
def test_a_wrong_file_names_the_field(tmp_path: Path, text: str, field: str) -> None:
    """Unknown keys, values beyond bounds, contradictions and broken YAML are refused with the path in the file."""
    assert field in problems(tmp_path, text)


def test_an_unknown_placement_names_the_known_ones() -> None:
    """The error lists what can be asked for; an empty name is the home page."""
    configuration = embedded_configuration()
    assert configuration.placement("")[0] == "home"
    with pytest.raises(InvalidArgument, match="bought-together, buy-again"):
        configuration.placement("hom")


def test_a_changed_file_is_used_and_an_invalid_one_is_not(tmp_path: Path) -> None:
    """A valid change is in use at the next look; an invalid one keeps the last, and the metric says so."""
    file, metrics = written(tmp_path, OWN), Metrics()
    serving = Serving(file, metrics)

    def look_at(text: str) -> float | None:
        written(tmp_path, text)
        stamp = file.stat().st_mtime_ns + 1_000_000
        os.utime(file, ns=(stamp, stamp))
        serving.look()
        return metrics.registry.get_sample_value("kairos_gateway_serving_configuration_valid")

    assert look_at(OWN.replace("trending", "popular")) == 1
    assert first_source(serving) is Source.POPULAR
    before = serving.configuration
    assert look_at("version: [") == 0
    assert serving.configuration is before
    assert look_at(OWN) == 1
    assert first_source(serving) is Source.TRENDING


def first_source(serving: Serving) -> Source:
    return serving.configuration.placements["footer"].sources[0].source


def test_an_invalid_file_prevents_the_start(tmp_path: Path) -> None:
    """At the start there is no configuration before it: the gateway names the problem."""
    with pytest.raises(InvalidArgument, match=r"placements\.p\.sources"):
        Serving(written(tmp_path, placement(sources="[]")), Metrics())
    with pytest.raises(InvalidArgument, match="cannot be read"):
        Serving(tmp_path / "missing.yaml", Metrics())


@pytest.mark.parametrize(
    ("exposure", "field"),
    [
        ("{group_by: seller, offsets: {a: 0.1}}", "group_by"),
        ("{group_by: brand, offsets: {a: 0.31}}", "offsets"),
        ("{group_by: brand, offsets: {}}", "offsets"),
    ],
)
def test_bad_exposure(tmp_path: Path, exposure: str, field: str) -> None:
    """The field is named."""
    with pytest.raises(InvalidArgument) as caught:
        load_configuration(written(tmp_path, f"{OWN}\nexposure: {exposure}\n"))
    assert all(field in violation.field for violation in caught.value.violations)
