"""Plants one mistake after the other into a copy of deploy/ and tells which ones the checks do not notice.

    python -m deploy.checks.mutations [--most 400] [--seed 0] [FILE …]

Mistakes: a key misspelt, a key gone with its value, an item of a list gone, a number off by one, a switch turned, a
word misspelt, the name of one part of the suite in the place of another's; in YAML, in the YAML within its strings, in
.env and .conf files, and in Dockerfiles. What kustomize builds all the same has no effect. Not every survivor is a
mistake: three replicas are as right as two.
"""

from __future__ import annotations

import argparse
import copy
import random
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from deploy.checks.build import (
    DEPLOY,
    OPTIONS,
    OVERLAYS,
    SMALL_OPTIONS,
    BuildFailed,
    Object,
    copied,
    example_secrets,
    files_of,
    objects_in,
    rendered,
    switch_options_on,
)
from deploy.checks.checking import problems_of, problems_of_files, problems_over

_PARTS = ("query-encoder", "retrieval", "ranker", "pricing", "gateway", "redis", "qdrant")
_WRITTEN = "# Written by"


@dataclass(frozen=True)
class Mutant:
    """One changed file: what was done to it, where, and how it reads then."""

    file: Path
    kind: str
    where: str
    text: str


def mutants(file: Path, random: random.Random) -> Iterator[Mutant]:
    text = file.read_text()
    if file.suffix == ".yaml":
        documents = list(yaml.safe_load_all(text))
        for where, kind, change in _changes(documents, random):
            changed = copy.deepcopy(documents)
            change(changed)
            yield Mutant(file, kind, where, yaml.safe_dump_all(changed, sort_keys=False))
        return
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines):
        if line.strip() and not line.startswith("#"):
            for kind, changed_line in _of_line(line, random):
                changed_lines = [*lines[:number], changed_line, *lines[number + 1 :]]
                yield Mutant(file, kind, f"line {number + 1}: {changed_line.strip()}", "".join(changed_lines))


def _of_line(line: str, random: random.Random) -> Iterator[tuple[str, str]]:
    yield "line gone", ""
    for word in re.finditer(r"[^\s=\"',\[\]\\&|]{2,}", line):
        changed = str(int(word.group()) + 1) if word.group().isdecimal() else misspelt(word.group(), random)
        yield "word misspelt", line[: word.start()] + changed + line[word.end() :]


def _changes(node: Any, random: random.Random, path: tuple[Any, ...] = ()) -> Iterator[tuple[str, str, Any]]:
    """(where, what is done, the function that does it to a copy of the root) for all within `node`."""
    where = ".".join(map(str, path))
    if isinstance(node, dict):
        for key, value in node.items():
            slip = misspelt(str(key), random)
            yield f"{where}.{slip}", "key misspelt", _on(path, lambda at, k=key, s=slip: _rename(at, k, s))
            yield f"{where}.{key}", "key gone", _on(path, lambda at, k=key: at.pop(k))
            yield from _changes(value, random, (*path, key))
    elif isinstance(node, list):
        for number, item in enumerate(node):
            if path or len(node) > 1:
                yield f"{where}.{number}", "item gone", _on(path, lambda at, n=number: at.pop(n))
            yield from _changes(item, random, (*path, number))
    elif isinstance(node, str) and "\n" in node.strip() and isinstance(inner := yaml.safe_load(node), dict | list):
        for inner_where, kind, change in _changes(inner, random):
            inner_copy = copy.deepcopy(inner)
            change(inner_copy)
            text = yaml.safe_dump(inner_copy, sort_keys=False)
            yield f"{where}|{inner_where}", kind, _on(path[:-1], lambda at, k=path[-1], t=text: _put(at, k, t))
    else:
        for kind, value in _of_value(node, random):
            yield f"{where} = {value}", kind, _on(path[:-1], lambda at, k=path[-1], v=value: _put(at, k, v))


def _of_value(value: Any, random: random.Random) -> Iterator[tuple[str, Any]]:
    if isinstance(value, bool):
        yield "switch turned", not value
    elif isinstance(value, int | float):
        yield "number off by one", value + 1
    elif isinstance(value, str) and value:
        if value.isdecimal():
            yield "number off by one", str(int(value) + 1)
            return
        yield "word misspelt", misspelt(value, random)
        name, is_pair, content = value.partition("=")
        if is_pair:
            yield "word misspelt", f"{misspelt(name, random)}={content}"
            yield "word misspelt", f"{name}={misspelt(content, random)}"
        if number := re.search(r":(\d+)\b", value):
            yield "number off by one", f"{value[: number.start(1)]}{int(number[1]) + 1}{value[number.end(1) :]}"
        if part := next((part for part in _PARTS if part in value), None):
            yield "another's name", value.replace(part, _PARTS[(_PARTS.index(part) + 1) % len(_PARTS)])


def misspelt(word: str, random: random.Random) -> str:
    """A letter of it dropped, doubled, or in the other case."""
    letters = [place for place, letter in enumerate(word) if letter.isalpha()] or [0]
    place = random.choice(letters)
    letter = word[place]
    slip = random.choice(["", letter * 2, letter.swapcase() if letter.isalpha() else ""])
    return word[:place] + slip + word[place + 1 :] or "x"


def _on(path: tuple[Any, ...], change: Any) -> Any:
    def apply(root: Any) -> None:
        for step in path:
            root = root[step]
        change(root)

    return apply


def _rename(mapping: dict[Any, Any], key: Any, name: str) -> None:
    items = [(name if known == key else known, value) for known, value in mapping.items()]
    mapping.clear()
    mapping.update(items)


def _put(holder: Any, key: Any, value: Any) -> None:
    holder[key] = value


class Trial:
    """A copy of deploy/ in which one file at a time is another."""

    def __init__(self, deploy: Path) -> None:
        self._deploy = deploy
        self._production = deploy / "k8s" / "overlays" / "production" / "kustomization.yaml"
        self._secrets = example_secrets(deploy)
        self._texts = {overlay: rendered(overlay, deploy) for overlay in (OPTIONS, SMALL_OPTIONS, *reversed(OVERLAYS))}
        self._objects = {overlay: objects_in(text) for overlay, text in self._texts.items()}
        self._files = {o: set(files_of(deploy / "k8s" / "overlays" / o)) for o in self._texts}
        if problems := self._noticed(self._texts, self._objects):
            raise SystemExit(f"nothing is planted yet, and there is {problems}")

    def outcome(self, mutant: Mutant) -> str:
        """Noticed, crashed (a check fell over it), no effect or survived."""
        before = mutant.file.read_text()
        mutant.file.write_text(mutant.text)
        try:
            used = [overlay for overlay, files in self._files.items() if mutant.file in files]
            if mutant.file == self._production:
                switch_options_on(self._deploy)
                used.append(OPTIONS)
            texts = self._texts | {overlay: rendered(overlay, self._deploy) for overlay in used}
            changed = {overlay: text for overlay, text in texts.items() if text != self._texts[overlay]}
            if used and not changed:
                return "no effect"
            objects = {overlay: objects_in(text) for overlay, text in changed.items()}
            # A Dockerfile concerns every overlay whose pods run its image.
            concerned = changed or (self._texts if mutant.file.suffix == ".Dockerfile" else {})
            return "noticed" if self._noticed(concerned, self._objects | objects) else "survived"
        except BuildFailed:
            return "noticed"
        except Exception as error:  # whatever a check did not expect
            return f"crashed ({error!r})"
        finally:
            mutant.file.write_text(before)
            if mutant.file == self._production:
                switch_options_on(self._deploy)

    def _noticed(self, concerned: Collection[str], objects: dict[str, list[Object]]) -> list[str]:
        """What the checks say, as soon as they say something."""
        secrets = example_secrets(self._deploy)
        for overlay in concerned if secrets == self._secrets else objects:
            if problems := problems_of(objects[overlay], secrets, self._deploy):
                return problems
        return [*problems_over(objects, secrets, self._deploy), *problems_of_files(self._deploy)]


def planted(deploy: Path, names: list[str], random: random.Random) -> list[Mutant]:
    files = sorted(path for ending in ("*.yaml", "*.conf", "*.env", "*.Dockerfile") for path in deploy.rglob(ending))
    return [
        mutant
        for file in files
        if "-with-options" not in str(file) and (not names or any(name in str(file) for name in names))
        # What is generated is compared with what the code says, letter by letter, by the tests.
        if not file.read_text().startswith(_WRITTEN)
        for mutant in mutants(file, random)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", nargs="*", help="a part of the path of the files to change; all without")
    parser.add_argument("--most", type=int, help="so many, drawn by lot")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    lots = random.Random(arguments.seed)
    counts: dict[str, Counter[str]] = {}
    with copied(DEPLOY) as deploy:
        trial, chosen = Trial(deploy.resolve()), planted(deploy.resolve(), arguments.file, lots)
        if arguments.most and arguments.most < len(chosen):
            chosen = lots.sample(chosen, arguments.most)
        for mutant in tqdm(chosen, unit="mistake"):
            outcome = trial.outcome(mutant)
            counts.setdefault(mutant.kind, Counter())[outcome.partition(" (")[0]] += 1
            if outcome not in ("noticed", "no effect"):
                tqdm.write(f"{outcome}: {mutant.file.relative_to(deploy.resolve())}: {mutant.kind}: {mutant.where}")
    table = Table("mistake", "planted", "noticed", "a check fell over it", "no effect", "survived")
    for kind, outcomes in sorted(counts.items()):
        cells = [outcomes[outcome] for outcome in ("noticed", "crashed", "no effect", "survived")]
        table.add_row(kind, *(f"{cell:,}" for cell in (sum(cells), *cells)))
    Console().print(table)


if __name__ == "__main__":
    main()
