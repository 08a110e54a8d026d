"""The pattern recognisers of presidio, and those of Chinese numbers, without presidio's engine.

`import presidio_analyzer` imports spaCy, and torch where it is installed: 96 MB and .8 s, with torch 417 MB and 10 s.
The recognisers alone take 23 MB and .4 s. They are loaded below a stand-in for the package, which is gone afterwards.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from types import ModuleType
from typing import Any

import tldextract

from services.common.personal_data import Personal

_PACKAGE = "presidio_analyzer"
# Where recognisers import from, beside their own module.
_NAMES = {
    "analysis_explanation": "AnalysisExplanation",
    "recognizer_result": "RecognizerResult",
    "entity_recognizer": "EntityRecognizer",
    "local_recognizer": "LocalRecognizer",
    "pattern": "Pattern",
    "pattern_recognizer": "PatternRecognizer",
}
_FOLDERS = ("predefined_recognizers", "predefined_recognizers.generic", "predefined_recognizers.country_specific",
            "predefined_recognizers.country_specific.us")  # fmt: skip
_MODULES = {
    "generic.credit_card_recognizer": "CreditCardRecognizer",
    "generic.iban_recognizer": "IbanRecognizer",
    "generic.ip_recognizer": "IpRecognizer",
    "generic.mac_recognizer": "MacAddressRecognizer",
    "country_specific.us.us_ssn_recognizer": "UsSsnRecognizer",
}
# National formats; numbers with a country code are found of every country. German numbers, for example, may have any
# length: most part numbers are one.
_REGIONS = ("US", "GB", "CN", "HK", "TW", "SG")
_LEAST_DIGITS = 7
# Patterns that are less certain need a context word, which is not looked for: a number of nine digits is mostly none of
# a person.
_LEAST_SCORE = 0.35
_lock = threading.Lock()
# Only with the list that the package carries: the default asks the network.
_domains = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)


class Recognizers:
    """All of them, for one process. Thread-safe: they keep no state."""

    def __init__(self) -> None:
        with _lock, _stand_in() as load:
            phone = load("predefined_recognizers.generic.phone_recognizer").PhoneRecognizer
            email = load("predefined_recognizers.generic.email_recognizer").EmailRecognizer
            pattern = load("pattern").Pattern
            plain = [getattr(load(f"predefined_recognizers.{module}"), name)() for module, name in _MODULES.items()]
            self._all = [
                *plain,
                phone(supported_regions=_REGIONS),
                _email(email),
                *_chinese(load("pattern_recognizer").PatternRecognizer, pattern),
            ]

    def find(self, text: str) -> list[Personal]:
        return [
            Personal(result.entity_type.lower(), result.start, result.end)
            for recognizer in self._all
            for result in recognizer.analyze(text, recognizer.supported_entities, None) or ()
            if result.score >= _LEAST_SCORE and not _is_short_number(text[result.start : result.end])
        ]


def _is_short_number(text: str) -> bool:
    is_number = not any(character.isalpha() or character in ":@." for character in text)
    return is_number and sum(map(str.isdigit, text)) < _LEAST_DIGITS


@contextmanager
def _stand_in() -> Iterator[Any]:
    """Gives a function that loads a module of the package without the package's own imports."""
    before = {name: module for name, module in sys.modules.items() if _is_of_package(name)}
    if _PACKAGE in before:  # it is loaded already: there is nothing to spare
        yield lambda name: importlib.import_module(f"{_PACKAGE}.{name}")
        return
    found = importlib.util.find_spec(_PACKAGE)
    if found is None:
        raise ModuleNotFoundError(f"{_PACKAGE} is not installed; install the extra `assistant`", name=_PACKAGE)
    package = importlib.util.module_from_spec(found)
    sys.modules[_PACKAGE] = package
    try:
        for module, name in _NAMES.items():
            setattr(package, name, getattr(importlib.import_module(f"{_PACKAGE}.{module}"), name))
        artifacts = ModuleType(f"{_PACKAGE}.nlp_engine")
        artifacts.NlpArtifacts = object  # type: ignore[attr-defined] # a type in annotations, and no more
        sys.modules[artifacts.__name__] = artifacts
        for folder in _FOLDERS:
            part = ModuleType(f"{_PACKAGE}.{folder}")
            part.__path__ = [f"{next(iter(package.__path__))}/{folder.replace('.', '/')}"]
            sys.modules[part.__name__] = part
        yield lambda name: importlib.import_module(f"{_PACKAGE}.{name}")
    finally:
        for name in [name for name in sys.modules if _is_of_package(name)]:
            del sys.modules[name]


def _is_of_package(name: str) -> bool:
    return name == _PACKAGE or name.startswith(f"{_PACKAGE}.")


def _email(base: Any) -> Any:
    class Email(base):  # type: ignore[misc] # loaded at run time
        def validate_result(self, pattern_text: str) -> bool:
            return _domains(pattern_text).fqdn != ""

    return Email()


def _chinese(base: Any, pattern: Any) -> list[Any]:
    class ResidentId(base):  # type: ignore[misc] # loaded at run time
        def validate_result(self, pattern_text: str) -> bool:
            return is_resident_id(pattern_text)

    class BankCard(base):  # type: ignore[misc] # loaded at run time
        def validate_result(self, pattern_text: str) -> bool:
            return _passes_luhn("".join(filter(str.isdigit, pattern_text)))

    class CompanyCode(base):  # type: ignore[misc] # loaded at run time
        def validate_result(self, pattern_text: str) -> bool:
            return is_company_code(pattern_text)

    companies = pattern(
        "social credit code", r"(?<![A-Za-z\d])[0-9A-HJ-NPQRTUWXY]{2}\d{6}[0-9A-HJ-NPQRTUWXY]{10}(?![A-Za-z\d])", 0.5
    )
    ids = pattern("resident id", r"(?<!\d)(?:\d{6}[ -]?\d{8}[ -]?\d{3}[0-9Xx]|\d{15})(?![\dXx])", 0.5)
    cards = pattern("UnionPay", r"(?<!\d)62\d{2}(?:[ -]?\d{4}){3}(?:[ -]?\d{1,3})?(?!\d)", 0.5)
    passports = pattern("passport", r"(?<![A-Za-z\d])(?:[EGDSP]\d{8}|E[A-HJ-NP-Z]\d{7}|[HM]\d{8}(?:\d{2})?)(?!\d)", 0.5)
    return [
        ResidentId(supported_entity="CN_RESIDENT_ID", patterns=[ids]),
        CompanyCode(supported_entity="CN_COMPANY_CODE", patterns=[companies]),
        BankCard(supported_entity="CREDIT_CARD", patterns=[cards]),
        base(supported_entity="CN_PASSPORT", patterns=[passports]),
    ]


# GB 11643: weights of the first 17 digits, and the check character by the remainder of the sum divided by 11.
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECKS = "10X98765432"


def is_resident_id(text: str) -> bool:
    """A number of 18 characters with a possible date and its check character, or of 15 with a possible date."""
    plain = text.replace(" ", "").replace("-", "").upper()
    born = plain[6:14] if len(plain) == 18 else f"19{plain[6:12]}"
    try:
        date(int(born[:4]), int(born[4:6]), int(born[6:]))
    except ValueError:
        return False
    if not "11" <= plain[:2] <= "83" or not 1900 <= int(born[:4]) <= 2100:
        return False
    if len(plain) == 15:
        return True
    total = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, plain[:17], strict=True))
    return _CHECKS[total % 11] == plain[17]


# GB 32100: the characters by value, and weights 3 ** place % 31 of the first 17.
_CODE_CHARACTERS = "0123456789ABCDEFGHJKLMNPQRTUWXY"


def is_company_code(text: str) -> bool:
    """A unified social credit code with its check character: those of sole traders name a person."""
    values = [_CODE_CHARACTERS.find(character) for character in text.upper()]
    if len(values) != 18 or -1 in values:
        return False
    total = sum(value * pow(3, place, 31) for place, value in enumerate(values[:17]))
    return -total % 31 == values[17]


def _passes_luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0
