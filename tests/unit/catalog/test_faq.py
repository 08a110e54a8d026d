"""Files of a FAQ: what is read of each form, and what is wrong with an entry."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.faq import ReadEntry, read_faq
from catalog.files import FileRefused

MARKDOWN = """# A title

A preface.

## Can I return it? {#returns}
also: return policy | send back
products: p1, p2
categories: Shoes > Boots | Bags
locale: en
valid: 2026-12-01 to 2027-01-31

Within 30 days.

Also: unused. See:
### Details
by post.

## 怎么退货？
30天内。
"""


def read(folder: Path, name: str, text: str) -> list[ReadEntry]:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return list(read_faq(path))


def test_markdown(tmp_path: Path) -> None:
    """A heading is a question, lines with a key before the answer are fields, and the rest is the answer."""
    first, second = read(tmp_path, "faq.md", MARKDOWN)
    entry = first.entry
    assert (first.line, first.problem) == (5, None)
    assert (entry.id, entry.question, entry.locale) == ("returns", "Can I return it?", "en")
    assert list(entry.alternative_questions) == ["return policy", "send back"]
    assert list(entry.product_ids) == ["p1", "p2"]
    assert list(entry.categories) == ["Shoes > Boots", "Bags"]
    assert entry.valid_from.ToDatetime().date().isoformat() == "2026-12-01"
    assert entry.valid_until.ToDatetime().date().isoformat() == "2027-01-31"
    assert entry.answer == "Within 30 days.\n\nAlso: unused. See:\n### Details\nby post."
    # Its id is made of the question.
    assert (second.entry.id, second.entry.answer) == ("怎么退货", "30天内。")


def test_csv_and_json(tmp_path: Path) -> None:
    """Both have the fields of an entry; lists are separated by a bar, or are lists. A version is ignored."""
    text = "id,question,answer,alternative_questions,version\nr,Return?,Yes.,back|policy,7\n"
    (from_csv,) = read(tmp_path, "faq.csv", text)
    json = '{"id": "r", "question": "Return?", "answer": "Yes.", "alternative_questions": ["back", "policy"]}\n'
    (from_json,) = read(tmp_path, "faq.jsonl", json)
    assert from_csv.entry == from_json.entry
    assert list(from_json.entry.alternative_questions) == ["back", "policy"]
    assert from_json.entry.version == 0


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ('{"question": "a"}', "answer"),
        ('{"question": "a", "answer": "b", "locale": "x_y"}', "locale"),
        ('{"question": "a", "answer": "b", "valid_from": "soon"}', "valid_from"),
        ('{"question": "a", "answer": "b", "valid_from": "2027-01-01", "valid_until": "2026-01-01"}', "valid_until"),
        ('{"question": "a", "answer": "b", "colour": "red"}', "colour"),
        ('{"question": ["a"], "answer": "b"}', "question"),
        ('{"question": "a", "answer": "b", "product_ids": [1]}', "product_ids"),
    ],
)
def test_a_wrong_entry(tmp_path: Path, line: str, field: str) -> None:
    """An entry that cannot be imported names its line, the field and the remedy; the next one is read."""
    wrong, right = read(tmp_path, "faq.jsonl", line + '\n{"question": "a", "answer": "b"}\n')
    assert (wrong.line, right.problem) == (1, None)
    assert wrong.problem is not None
    assert wrong.problem[0] == field
    assert wrong.problem[1]


def test_an_unknown_kind(tmp_path: Path) -> None:
    """Another kind of file, and a file that is missing, are refused."""
    with pytest.raises(FileRefused, match="rename or convert"):
        read(tmp_path, "faq.docx", "x")
    with pytest.raises(FileRefused, match="no file"):
        list(read_faq(tmp_path / "none.md"))
