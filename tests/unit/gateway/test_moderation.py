"""Moderation rules: how texts are read, when a rule matches, and the judged titles."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from services.common.errors import InvalidArgument
from services.common.product import Product
from services.common.visibility import EVERYONE, GENERAL, Moderated, Outcome, Viewing
from services.gateway.adapters.moderation_file import embedded_rules, load_rules
from services.gateway.domain.moderation.moderator import NOTHING_FOUND, Moderator, decided
from services.gateway.domain.moderation.text import normalized, read

MODERATOR = Moderator(embedded_rules())
TITLES = Path(__file__).parents[3] / "benchmarks" / "data" / "moderation_titles.csv"


def found(title: str, description: str = "") -> tuple[str, ...]:
    return MODERATOR.of_product(Product("p", title, description=description)).categories


@pytest.mark.parametrize(
    "title",
    ["Pistols", "ＰＩＳＴＯＬ", "p.i.s.t.o.l", "p1stol", "pis\u200btol", "Pistol, black"],
)
def test_spellings_of_a_word(title: str) -> None:
    """Plurals, full width, letters apart, digits for letters and invisible characters are read as the word."""
    assert found(title) == ("weapons",)


def test_traditional_characters() -> None:
    """A rule in simplified characters finds traditional ones."""
    assert found("軍用槍支 零件") == ("weapons",)


def test_compounds() -> None:
    """A word with a dash is itself and its parts; a number alone stays a number."""
    assert read(normalized("AR-15 9mm 1080p")).words == ("ar-15", "ar", "15", "9mm", "1080p")


@pytest.mark.parametrize(
    "title", ["Emergency kill switch", "Gun metal grey faucet", "厨房刀具 七件套", "Toy water pistol"]
)
def test_innocent_look_alikes(title: str) -> None:
    """Words that only look like what a rule looks for pass."""
    assert MODERATOR.of_product(Product("p", title)) == NOTHING_FOUND


def test_a_description_is_read_by_sentences() -> None:
    """What a rule needs must be in one sentence, and what it excludes excludes within its sentence alone."""
    assert found("Tonic", "It cures quickly. Our founder survived cancer.") == ()
    assert found("Tonic", "No toy. Buy a book! It cures cancer.") == ("medical_claims",)


def test_telephone_numbers_are_for_titles() -> None:
    """A number to call is found in a title, and usual in a description."""
    assert found("Call 555-234-7788 for price") == ("personal_data",)
    assert found("Faucet", "Call 555-234-7788 for support.") == ()


def test_markets_and_outcomes_are_joined() -> None:
    """The most severe outcome counts in each market, and one category for adults makes the product one."""
    moderated = MODERATOR.of_product(Product("p", "Vibrator with THC oil"))
    assert (moderated.outcome, moderated.adults_only) == (Outcome.BLOCK, True)
    assert moderated.markets == {"ca": Outcome.REVIEW}
    assert moderated.visibility.shows_to(Viewing("ca", is_adult=True))
    assert not moderated.visibility.shows_to(Viewing("ca"))
    assert not moderated.visibility.shows_to(Viewing("us", is_adult=True))


def test_decisions() -> None:
    """An approved product is shown in all markets, and only to adults if it was for adults; a rejected one nowhere."""
    blocked = Moderated(Outcome.BLOCK, True, {"ca": Outcome.REVIEW}, ("drugs",))
    assert decided(blocked, True, "r").visibility.shows_to(Viewing("us", is_adult=True))
    assert not decided(blocked, True, "r").visibility.shows_to(GENERAL)
    assert not decided(blocked, False, "r").visibility.shows_to(Viewing("ca", is_adult=True))
    assert decided(Moderated(Outcome.BLOCK), True, "r").visibility == EVERYONE


def test_the_judged_titles() -> None:
    """On titles that were set aside before the rules were written, precision and recall are .95 or more in each
    language.
    """
    counts = Counter[tuple[str, bool, bool]]()
    with TITLES.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["split"] == "held_out":
                is_found = bool(found(row["title"]))
                counts[row["language"], bool(row["category"]), is_found] += 1
    for language in ("en", "zh"):
        hits, misses, false = (counts[language, *pair] for pair in ((True, True), (True, False), (False, True)))
        assert hits > 40
        assert hits / (hits + misses) >= 0.95
        assert hits / (hits + false) >= 0.95


def test_a_file_of_rules(tmp_path: Path) -> None:
    """A shop's category replaces the embedded one; an error names file, line and remedy."""
    file = tmp_path / "own.yaml"
    file.write_text("version: own\ncategories:\n  weapons: {outcome: review, rules: [{any: [spoon]}]}\n", "utf-8")
    own = Moderator(load_rules(file))
    assert own.of_title("silver spoon").outcome is Outcome.REVIEW
    assert own.of_title("pistol") == NOTHING_FOUND
    assert own.of_title("cocaine").outcome is Outcome.BLOCK
    for text, problem in (
        ("version: own\ncategories:\n  weapons: {outcome: blok}\n", "own.yaml:3"),
        ("version: own\ncategories:\n  weapons: {outcome: block, markets: {DE: block}}\n", "DE"),
        ("version: own\ncategories:\n  weapons: {outcome: block, rules: [{any: []}]}\n", "own.yaml:3"),
    ):
        file.write_text(text, "utf-8")
        with pytest.raises(InvalidArgument, match=problem):
            load_rules(file)
