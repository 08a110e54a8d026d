"""Pins of merchandising rules as rows of a CSV file: rule_id, query, category, product_id, position, soft."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from catalog.delimited import delimited_header, delimited_rows
from catalog.files import FileRefused, Row
from kairos.control.v1 import control_pb2, merchandising_pb2
from services.common.convert_merchandising import checked_rule
from services.common.errors import FieldViolation, InvalidArgument
from services.common.limits import id_problem
from services.common.merchandising import MAX_POSITION

COLUMNS = ("rule_id", "query", "category", "product_id", "position", "soft")
_REQUIRED = ("rule_id", "product_id", "position")
# Of one file.
MAX_ROWS = 20_000
_MOST_VIOLATIONS = 20
_RULE_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_OF_ACTION = re.compile(r"\.?actions\[(\d+)\](?:\.pin)?\.?")
# Between several queries or categories of one rule.
_AND = " | "
_SOFT = {"": False, "no": False, "false": False, "yes": True, "true": True}


@dataclass(frozen=True)
class PinRow:
    """One pin, and the line of the file that it stands in."""

    line: int
    rule_id: str
    query: str
    category: str
    pin: merchandising_pb2.Pin


def rows_of(resources: Iterable[control_pb2.Resource]) -> list[dict[str, str]]:
    """The pins of the merchandising rules among the resources, by column: a row for each pin in its order."""
    return [
        dict(zip(COLUMNS, (one.id, *_trigger_texts(rule), pin.product_id, str(pin.position), soft), strict=True))
        for one in resources
        for rule in (one.merchandising_rule,)
        for pin in _pins(rule)
        for soft in ("yes" if pin.is_soft else "",)
    ]


def as_csv(rows: Iterable[Mapping[str, str]]) -> str:
    """The text of a file that `read_pins` reads."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def read_pins(file: Path) -> dict[str, list[PinRow]]:
    """The rows of each rule. Raises InvalidArgument that names line and field of each wrong row."""
    try:
        header, _ = delimited_header(file)
        if missing := [name for name in _REQUIRED if name not in header]:
            raise InvalidArgument.of(file.name, f"has no column {missing[0]!r}; the header is {','.join(COLUMNS)}")
        if unknown := [name for name in header if name not in COLUMNS]:
            raise InvalidArgument.of(file.name, f"has the unknown column {unknown[0]!r}; use {', '.join(COLUMNS)}")
        rows = list(_bounded(file))
    except FileRefused as error:
        raise InvalidArgument.of(file.name, str(error)) from None
    except OSError as error:
        raise InvalidArgument.of(file.name, f"cannot be read: {error.strerror}") from None
    wrong = [FieldViolation(f"line {row.line}", row.problem) for row in rows if row.problem]
    found: dict[str, list[PinRow]] = {}
    for row in rows:
        if not row.problem:
            values = {name: str(row.values.get(name) or "").strip() for name in COLUMNS}
            problems = list(_problems(row.line, values))
            wrong += problems
            if not problems:
                found.setdefault(values["rule_id"], []).append(_pin_row(row.line, values))
    wrong += [problem for rows_of_rule in found.values() for problem in _problems_of_rule(rows_of_rule)]
    if wrong:
        raise InvalidArgument(*wrong[:_MOST_VIOLATIONS])
    if not found:
        raise InvalidArgument.of(file.name, "has no row below the header; export pins to see the form")
    return found


def with_pins(rows: Sequence[PinRow], present: control_pb2.Resource | None) -> control_pb2.Resource:
    """The rule with these pins in the place of its own; all else stays. A new rule if there is none.

    Raises InvalidArgument that names line and field.
    """
    first = rows[0]
    changed = control_pb2.Resource(kind=control_pb2.RESOURCE_KIND_MERCHANDISING_RULE, id=first.rule_id)
    rule = changed.merchandising_rule
    if present is None:
        if not (first.query or first.category):
            raise InvalidArgument.of(f"line {first.line}, query", "is empty; a new rule needs a query or a category")
        rule.trigger.queries.extend(map(_condition_of, filter(None, first.query.split(_AND))))
        rule.trigger.categories.extend(filter(None, first.category.split(_AND)))
    else:
        changed.etag = present.etag
        rule.CopyFrom(present.merchandising_rule)
        own_texts = _trigger_texts(rule)
        for name, text, own in zip(("query", "category"), (first.query, first.category), own_texts, strict=True):
            if text and text != own:
                problem = f"is not that of the rule, {own!r}; leave it empty, or change it with `kairos control apply`"
                raise InvalidArgument.of(f"line {first.line}, {name}", problem)
    pins = [row.pin for row in rows]
    if pins != _pins(rule):
        others = [action for action in rule.actions if not action.HasField("pin")]
        del rule.actions[:]
        rule.actions.extend(merchandising_pb2.RuleAction(pin=pin) for pin in pins)
        rule.actions.extend(others)
        _check(rule, rows)
    return changed


def _bounded(file: Path) -> Iterator[Row]:
    for count, row in enumerate(delimited_rows(file)):
        if count == MAX_ROWS:
            raise InvalidArgument.of(f"line {row.line}", f"is row {MAX_ROWS + 1}; at most {MAX_ROWS}: split the file")
        yield row


def _problems(line: int, values: Mapping[str, str]) -> Iterator[FieldViolation]:
    if not _RULE_ID.fullmatch(values["rule_id"]):
        problem = f"is {values['rule_id'][:64]!r}; use 1 to 63 of a-z, 0-9, '-' and '_', a letter or digit first"
        yield FieldViolation(f"line {line}, rule_id", problem)
    if problem := id_problem(values["product_id"]) or "":
        yield FieldViolation(f"line {line}, product_id", problem)
    position = values["position"]
    if not (position.isascii() and position.isdecimal() and len(position) <= 3 and 1 <= int(position) <= MAX_POSITION):
        problem = f"is {position[:20]!r}; write a whole number of 1 to {MAX_POSITION}"
        yield FieldViolation(f"line {line}, position", problem)
    if values["soft"].lower() not in _SOFT:
        yield FieldViolation(f"line {line}, soft", f"is {values['soft'][:20]!r}; write yes, or leave it empty")


def _pin_row(line: int, values: Mapping[str, str]) -> PinRow:
    soft = _SOFT[values["soft"].lower()]
    pin = merchandising_pb2.Pin(product_id=values["product_id"], position=int(values["position"]), is_soft=soft)
    return PinRow(line, values["rule_id"], values["query"], values["category"], pin)


def _problems_of_rule(rows: Sequence[PinRow]) -> Iterator[FieldViolation]:
    first, lines = rows[0], dict[str, int]()
    for row in rows:
        for name in ("query", "category"):
            if getattr(row, name) != getattr(first, name):
                problem = f"is another one than in line {first.line}; a rule has the same in each of its rows"
                yield FieldViolation(f"line {row.line}, {name}", problem)
        if (other := lines.setdefault(row.pin.product_id, row.line)) != row.line:
            yield FieldViolation(f"line {row.line}, product_id", f"is pinned in line {other} already; keep one of them")


def _check(rule: merchandising_pb2.MerchandisingRule, rows: Sequence[PinRow]) -> None:
    """As control does, with the lines of the file."""
    checked = merchandising_pb2.MerchandisingRule()
    checked.CopyFrom(rule)
    checked.id = rows[0].rule_id
    try:
        checked_rule(checked, "")
    except InvalidArgument as error:
        wrong = []
        for one in error.violations:
            place = _OF_ACTION.match(one.field)
            row = rows[min(int(place[1]), len(rows) - 1)] if place else rows[0]
            field = one.field[place.end() :] if place else one.field.removeprefix(".")
            wrong.append(FieldViolation(f"line {row.line}, {field}", one.description))
        raise InvalidArgument(*wrong) from None


def _pins(rule: merchandising_pb2.MerchandisingRule) -> list[merchandising_pb2.Pin]:
    return [action.pin for action in rule.actions if action.HasField("pin")]


def _trigger_texts(rule: merchandising_pb2.MerchandisingRule) -> tuple[str, str]:
    """(queries, categories) as the columns have them."""
    return _AND.join(map(_condition_text, rule.trigger.queries)), _AND.join(rule.trigger.categories)


def _condition_text(condition: merchandising_pb2.QueryCondition) -> str:
    kind = condition.WhichOneof("condition") or "equals"
    text: str = getattr(condition, kind)
    return text if kind == "equals" else f"{kind}: {text}"


def _condition_of(text: str) -> merchandising_pb2.QueryCondition:
    kind, separator, rest = text.partition(": ")
    if separator and kind in ("starts_with", "contains"):
        return merchandising_pb2.QueryCondition(**{kind: rest})
    return merchandising_pb2.QueryCondition(equals=text)
