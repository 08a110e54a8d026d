"""Tokens are decoded as they were encoded, or refused."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import InvalidArgument
from services.common.limits import id_problem
from services.gateway.domain.rule_index import MAX_APPLIED, exclusion_keys
from services.gateway.domain.tokens import AttributionToken, PageToken, fingerprint

KEY = "a key that only the gateway has"
REQUEST = fingerprint("SearchRequest", b"shoes")
keys = st.text(max_size=80)
names = st.text(max_size=40)
ids = names.filter(lambda name: id_problem(name, required=False) is None)
page_tokens = st.builds(
    PageToken, st.just(REQUEST), st.integers(0, 10**6), ids, names, st.integers(0, 10**6), st.sampled_from(["", "zh"]),
    soft_filter=st.binary(max_size=40).map(lambda data: base64.b64encode(data).decode()),
)  # fmt: skip
attribution_tokens = st.builds(AttributionToken, ids, names)
PAGE = PageToken(REQUEST, 10, "5d41402abc4b2a76b9719d911017c592")
ATTRIBUTION = AttributionToken("5d41402abc4b2a76b9719d911017c592", "weighted-sum@1")


@given(page_tokens, keys)
def test_a_page_comes_back(page: PageToken, key: str) -> None:
    """An unchanged page token gives the page that it was made of, whatever the key."""
    assert PageToken.decode(page.encode(key), REQUEST, key) == page


def test_the_largest_pages() -> None:
    """A token has room for what rules may have moved and excluded, or for the conditions of a query."""
    excluding = exclusion_keys(f"rule {n}" for n in range(MAX_APPLIED))
    moved = " ".join(fingerprint(f"product {n}")[:8] for n in range(200))
    browsing = replace(PAGE, cursor="c" * 200, total_size=10**6, locale="zh-Hant-TW", moved=moved, excluding=excluding)
    query = replace(PAGE, locale="zh-Hant-TW", soft_filter="a" * 2_048, excluding=excluding)
    for page in (browsing, query):
        assert PageToken.decode(page.encode(KEY), REQUEST, KEY) == page


@given(attribution_tokens, keys)
def test_an_attribution_comes_back(token: AttributionToken, key: str) -> None:
    """An unchanged attribution token names its ranking, whatever the key."""
    assert AttributionToken.decode(token.encode(key), key) == token


@given(st.data())
def test_any_changed_character_is_refused(data: st.DataObject) -> None:
    """A token with one changed character, anywhere, is refused."""
    for token in (PAGE.encode(KEY), ATTRIBUTION.encode(KEY)):
        place = data.draw(st.integers(0, len(token) - 1))
        other = data.draw(st.characters(exclude_characters=token[place], exclude_categories=["Cs"]))
        damaged = token[:place] + other + token[place + 1 :]
        assert refused_page(damaged, KEY)
        assert AttributionToken.decode(damaged, KEY) is None


@given(st.data())
def test_any_flipped_bit_is_refused(data: st.DataObject) -> None:
    """A token with one flipped bit, anywhere, is refused."""
    for token in (PAGE.encode(KEY), ATTRIBUTION.encode(KEY)):
        raw = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        bit = data.draw(st.integers(0, len(raw) * 8 - 1))
        raw[bit // 8] ^= 1 << bit % 8
        damaged = base64.urlsafe_b64encode(raw).decode().rstrip("=")
        assert refused_page(damaged, KEY)
        assert AttributionToken.decode(damaged, KEY) is None


@given(st.data())
def test_truncated_and_longer_ones_are_refused(data: st.DataObject) -> None:
    """A shortened or extended token is refused."""
    token = PAGE.encode(KEY)
    assert refused_page(token[: data.draw(st.integers(1, len(token) - 1))], KEY)
    assert refused_page(token + data.draw(st.text("abcAZ09-_=%\n", min_size=1)), KEY)


@given(st.text(min_size=1, max_size=2_000))
def test_anything_else_is_refused(text: str) -> None:
    """Any other text is refused, without another error."""
    assert refused_page(text, KEY)
    assert AttributionToken.decode(text, KEY) is None


@given(st.recursive(st.none() | st.integers() | names, lambda inner: st.lists(inner) | st.dictionaries(names, inner)))
def test_a_forged_content_is_refused(content: object) -> None:
    """Base64 of any JSON without a seal is refused."""
    forged = base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")
    assert refused_page(forged, KEY)
    assert AttributionToken.decode(forged, KEY) is None


def test_another_key_is_refused() -> None:
    """A token sealed with another key, or with an empty one, is a forgery."""
    for forger in ("", "another key"):
        assert refused_page(PAGE.encode(forger), KEY)
        assert AttributionToken.decode(ATTRIBUTION.encode(forger), KEY) is None


def test_one_kind_is_not_the_other() -> None:
    """A page token is not accepted as an attribution token, nor the other way round."""
    assert refused_page(ATTRIBUTION.encode(KEY), KEY)
    assert AttributionToken.decode(PAGE.encode(KEY), KEY) is None


@given(tokens=st.tuples(page_tokens, attribution_tokens), other=keys)
def test_an_earlier_key_is_accepted(tokens: tuple[PageToken, AttributionToken], other: str) -> None:
    """Of several keys each one opens the tokens that it sealed."""
    page, attribution = tokens
    assert PageToken.decode(page.encode(KEY), REQUEST, other, KEY) == page
    assert AttributionToken.decode(attribution.encode(KEY), other, KEY) == attribution


@given(st.data())
def test_sealed_but_of_other_types(data: st.DataObject) -> None:
    """A sealed token whose values have other types or sizes is refused: no defect of a gateway becomes an error."""
    anything: st.SearchStrategy[object] = (
        st.none() | st.booleans() | st.lists(st.integers(), max_size=1) | st.floats() | st.just({})
    )
    texts, numbers = anything | st.integers(), anything | st.sampled_from([-1, 2**31, 10**12, "0"])
    wrong = {
        name: data.draw(texts if isinstance(value, str) else numbers)
        for name, value in vars(PageToken(REQUEST, 10, "r", "c", 1, "zh")).items()
        if data.draw(st.booleans())
    }
    page = PageToken(**vars(PAGE) | wrong)
    # What is empty is left out of a token, and stands for the default.
    if any(value not in ("", 0) for value in wrong.values()):
        assert refused_page(page.encode(KEY), KEY)
    named = AttributionToken(data.draw(texts), "m")  # type: ignore[arg-type]
    assert AttributionToken.decode(named.encode(KEY), KEY) is None


@pytest.mark.parametrize("id", ["x" * 129, "a\nb"])
def test_a_ranking_id_is_an_id(id: str) -> None:
    """A sealed token with a ranking id out of its bounds is refused."""
    assert refused_page(PageToken(REQUEST, 10, id).encode(KEY), KEY)
    assert AttributionToken.decode(AttributionToken(id, "m").encode(KEY), KEY) is None


def test_the_longest_token_is_accepted() -> None:
    """A cursor with an id of 128 characters outside ASCII fits."""
    page = PageToken(REQUEST, 10**6, cursor="商" * 160, total_size=10**6, locale="zh-Hant-TW")
    assert PageToken.decode(page.encode(KEY), REQUEST, KEY) == page


def test_the_refusal_says_what_to_do() -> None:
    """A damaged token and one of another request have different errors, and both name the field."""
    with pytest.raises(InvalidArgument, match=r"page_token: is damaged; send next_page_token as it came"):
        PageToken.decode(PAGE.encode(KEY)[:-1], REQUEST, KEY)
    with pytest.raises(InvalidArgument, match=r"page_token: belongs to another request"):
        PageToken.decode(PAGE.encode(KEY), fingerprint("SearchRequest", b"boots"), KEY)


@given(st.lists(st.binary(max_size=8), max_size=4), st.lists(st.binary(max_size=8), max_size=4))
def test_fingerprints_keep_requests_apart(one: list[bytes], other: list[bytes]) -> None:
    """Two requests have the same fingerprint only if all their parts are the same, wherever the parts are cut."""
    assert (fingerprint(*one) == fingerprint(*other)) == (one == other)


def refused_page(token: str, key: str) -> bool:
    try:
        PageToken.decode(token, REQUEST, key)
    except InvalidArgument as error:
        return [violation.field for violation in error.violations] == ["page_token"]
    return False
