"""What the assistant does not answer: rules over the words of an utterance, in both languages."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from services.assistant.ports import Refusal
from services.common.scripts import HAN, has_han
from services.common.traditional_chinese import simplified

# In this order: danger to a person comes first.
KINDS = ("self_harm", "abuse", "others_data", "injection", "medical", "legal", "financial")
CHINESE, ENGLISH = "zh", "en"
# Characters that are read of an utterance.
_MOST = 2_000
# "f u c k", "i-g-n-o-r-e": single letters with the same sign or blank between them.
_SPELT = re.compile(r"(?<![^\W_])(?:[a-z][ .\-_*]){3,}[a-z](?![^\W_])")
_LEET = str.maketrans("013457@$", "oieastas")
_LEET_WORD = re.compile(r"(?<![^\W_])(?=[a-z013457@$]*[a-z])(?=[a-z013457@$]*[013457@$])[a-z013457@$]{4,}(?![^\W_])")
_BLANK = r"[\s,;.!?\"']"
_HAN_GAP = re.compile(rf"(?<=[{HAN}])[\s·.,，、*_\-~|/]+(?=[{HAN}])")


@dataclass(frozen=True)
class SafetyRule:
    """`patterns` are regular expressions; `ordinary`: what is ordinary although it matches."""

    kind: str
    text: str
    hands_over: bool
    patterns: Sequence[str]
    ordinary: Sequence[str] = ()

    def matches(self, text: str, is_chinese: bool) -> bool:
        if self._compiled(is_chinese).search(text) is None:
            return False
        if not self.ordinary:
            return True
        return self._compiled(is_chinese).search(self._ordinary(is_chinese).sub(" ; ", text)) is not None

    def _compiled(self, is_chinese: bool) -> re.Pattern[str]:
        return self._chinese[0] if is_chinese else self._english[0]

    def _ordinary(self, is_chinese: bool) -> re.Pattern[str]:
        return self._chinese[1] if is_chinese else self._english[1]

    @cached_property
    def _english(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        return _whole_words(self.patterns), _whole_words(self.ordinary)

    @cached_property
    def _chinese(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        return re.compile("|".join(self.patterns)), re.compile("|".join(self.ordinary))


class RulesOfSafety:
    """`rules` by language. An utterance is compared with those of the languages that it holds."""

    def __init__(self, rules: Mapping[str, Mapping[str, SafetyRule]]) -> None:
        self._rules = rules

    def refusal(self, utterance: str, language: str) -> Refusal | None:
        """None for what may be answered. The text is in `language`, that of the answer."""
        forms = list(dict.fromkeys(_forms(utterance[:_MOST])))
        spoken = [ENGLISH, CHINESE] if has_han(utterance) else [ENGLISH]
        for kind in KINDS:
            for one in spoken:
                rule = self._rules.get(one, {}).get(kind)
                if rule is not None and any(rule.matches(_written(form, one), one == CHINESE) for form in forms):
                    said = self._rules.get(language, {}).get(kind, rule)
                    return Refusal(kind, said.text, said.hands_over)
        return None


def _forms(text: str) -> list[str]:
    """In lower case, simplified, without invisible characters; and with letters that were spelt or are digits."""
    visible = "".join(
        " " if one.isspace() else one for one in text if one.isspace() or unicodedata.category(one)[0] != "C"
    )
    plain = simplified(unicodedata.normalize("NFKC", visible).lower().replace("’", "'"))
    plain = " ".join(plain.split())
    joined = _SPELT.sub(lambda match: re.sub(r"[ .\-_*]", "", match[0]), plain)
    return [plain, joined, _LEET_WORD.sub(lambda match: match[0].translate(_LEET), joined)]


def _written(text: str, language: str) -> str:
    return re.sub(r"\s+", "", _HAN_GAP.sub("", text)) if language == CHINESE else text


def _whole_words(patterns: Sequence[str]) -> re.Pattern[str]:
    """Blanks of a pattern also stand for several blanks and signs. Nothing matches an empty list."""
    if not patterns:
        return re.compile(r"(?!)")
    spaced = (pattern.replace(" ?", f"{_BLANK}*").replace(" ", f"{_BLANK}+") for pattern in patterns)
    return re.compile("|".join(rf"(?:(?<![^\W_]){pattern}(?![^\W_]))" for pattern in spaced))
