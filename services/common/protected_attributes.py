"""Names of attributes of persons that no ranking may use: age, sex, health, origin and the like, English and Chinese.

The list follows the special categories of the GDPR (article 9), and the grounds of article 21 of the EU's Charter of
Fundamental Rights. It reads names, not values: an attribute `segment` with the value "pregnant" passes.
"""

from __future__ import annotations

import re
import unicodedata

# Whole words of a name: user_age, ageGroup, "home origin".
_WORDS = frozenset((
    "age", "ages", "aged", "sex", "sexes", "race", "racial", "health", "healthy", "medical", "medicine", "illness",
    "disease", "diagnosis", "diagnoses", "origin", "origins", "descent", "ancestry", "faith", "belief", "beliefs",
    "creed", "church", "birth", "birthday", "birthdate", "birthyear", "born", "dob", "yob", "gay", "lesbian",
    "bisexual", "lgbt", "lgbtq", "queer", "genetic", "genetics", "biometric", "biometrics", "caste", "tribe", "senior",
    "seniors", "minor", "elderly", "male", "female", "man", "woman", "men", "women", "blood", "hiv", "colour_of_skin",
    "skin_colour", "skin_color", "citizenship", "citizen", "migrant", "refugee", "asylum", "passport", "mother_tongue",
    "native_language", "marital_status", "pronoun", "pronouns", "salutation",
))  # fmt: skip
# Parts of a name that are long enough to mean nothing else: dateofbirth, genderIdentity, nationalities.
_PARTS = (
    "gender", "dateofbirth", "birthd", "birthy", "yearofbirth", "yearsold", "agegroup", "agerange", "religio", "ethnic",
    "nationalit", "nationalorigin", "pregnan", "maternity", "disab", "handicap", "sexual", "politic", "migration",
    "immigra", "tradeunion", "mentalhealth", "skincolo", "countryofbirth", "placeofbirth", "homeland", "indigen",
)  # fmt: skip
_CHINESE = (
    "年龄", "年齡", "岁数", "歲數", "年纪", "年紀", "出生", "生日", "生辰", "性别", "性別", "男女", "健康", "疾病",
    "病史", "医疗", "醫療", "残疾", "殘疾", "残障", "殘障", "怀孕", "懷孕", "孕期", "孕妇", "孕婦", "宗教", "信仰",
    "民族", "种族", "種族", "族裔", "籍贯", "籍貫", "国籍", "國籍", "出身", "血统", "血統", "肤色", "膚色", "性取向",
    "性倾向", "性傾向", "政治", "党派", "黨派", "工会", "工會", "遗传", "遺傳", "基因", "血型", "户籍", "戶籍", "移民",
)  # fmt: skip
# Where a capital letter begins a word: ageGroup, userAGE.
_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_LETTERS = re.compile(r"[^\W\d_]+")


def is_protected(name: str) -> bool:
    """Whether the name, in any case and with any separators, says that the attribute is a protected one."""
    plain = "".join(c for c in unicodedata.normalize("NFKC", name) if unicodedata.category(c) != "Cf")
    words = [word.casefold() for word in _LETTERS.findall(_CAPITAL.sub(" ", plain))]
    joined = "".join(words)
    pairs = {"_".join(words[at : at + size]) for size in (1, 2, 3) for at in range(len(words))}
    return (
        not _WORDS.isdisjoint(pairs)
        or any(part in joined for part in _PARTS)
        or any(part in joined for part in _CHINESE)
    )
