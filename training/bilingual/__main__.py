"""`python -m training.bilingual --out DIR`: an encoder that reads Chinese, taught by the one that reads English.

It learns from the concept graph and, where there is a catalogue, from its titles in both languages. The folder is
served by KAIROS_QUERY_ENCODER_MODEL_DIR.
"""

from __future__ import annotations

import copy
import csv
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from tokenizers import Tokenizer

from catalog.products import read_catalogue
from services.common.product import Product
from services.query_encoder.adapters.concept_files import load_graph
from services.query_encoder.adapters.torch_encoder import PooledEncoder, TorchEncoder, load_model
from services.query_encoder.domain.product_text import product_text
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import embedded_model_dir
from training.bilingual.distil import Distillation, Lessons, distil
from training.bilingual.texts import HeldOut, Pair, QueryWriter, catalogue_pairs, label_pairs, with_traditional
from training.bilingual.vocabulary import GrownEmbeddings, Vocabulary, extended, first_embeddings

# Queries and English texts that the student never saw, to say how near it came.
_PROBES = 400


def main(
    out: Annotated[Path, typer.Option(help="The student's folder; must not be there yet.")],
    catalog: Annotated[Path | None, typer.Option(help="The shop's catalogue, as of `kairos catalog import`.")] = None,
    map: Annotated[str, typer.Option(help="As of `kairos catalog import`.")] = "",
    hold_out: Annotated[list[Path], typer.Option(help="CSV with a column query: never taught.")] = [],  # noqa: B006
    teacher: Annotated[Path | None, typer.Option(help="The English model's folder. Default: the embedded one.")] = None,
    steps: int = Distillation.steps,
    minutes: Annotated[float, typer.Option(help="Ends the training early.")] = Distillation.minutes,
    layers: Annotated[int, typer.Option(help="The lowest layers learn too.")] = Distillation.layers,
    seed: int = Distillation.seed,
    threads: int = 1,
) -> None:
    if out.exists():
        raise typer.BadParameter(f"{out} is there already; remove it or name another", param_hint="--out")
    torch.set_num_threads(threads)
    encoder = QueryEncoderSettings()
    graph = load_graph(encoder.concepts_file, encoder.extra_concepts_file)
    products = read_catalogue(catalog, map) if catalog else []
    lessons = Lessons(
        QueryWriter(graph), label_pairs(graph), catalogue_pairs(products), _english(products, graph.concepts, seed),
        HeldOut(query for file in hold_out for query in _queries(file)),
    )  # fmt: skip
    settings = Distillation(steps=steps, minutes=minutes, layers=layers, seed=seed)
    report = train(teacher or embedded_model_dir(), lessons, sorted(graph.fillers), out, settings)
    print(json.dumps(report, indent=2))
    print(f"Serve it with\n  KAIROS_QUERY_ENCODER_MODEL_DIR={out.resolve()}")
    print(f"  KAIROS_QUERY_ENCODER_MODEL_VERSION={_version(out)}")
    print("and import the catalogue anew, into an empty collection: its vectors are of another model.")
    if not layers:
        print("A catalogue in English may keep its vectors, which are the same: then leave MODEL_VERSION as it was.")


def train(
    teacher_dir: Path, lessons: Lessons, fillers: Sequence[str], out: Path, settings: Distillation
) -> dict[str, Any]:
    """Writes the model's folder to `out`; the answer says how near the student came to its teacher."""
    english = _tokenizer(teacher_dir)
    teacher = load_model(teacher_dir)
    texts = [pair.chinese for pair in (*lessons.labels, *lessons.titles)] + list(fillers)
    vocabulary = extended(english, with_traditional(texts), [*(pair.chinese for pair in lessons.labels), *fillers])
    student = _grown(teacher, vocabulary, lessons.labels, english)
    report = distil(student, teacher, vocabulary, english, lessons, settings)
    work = out.with_suffix(".new")
    shutil.rmtree(work, ignore_errors=True)
    _save(student, vocabulary, teacher_dir, work)
    report |= {"pieces": {"fresh": int(vocabulary.fresh.sum()), "all": len(vocabulary.fresh)}}
    report |= {"cosine": _nearness(work, teacher_dir, lessons, settings)}
    (work / "training.json").write_text(json.dumps(report, indent=2) + "\n")
    os.rename(work, out)
    return report


def _grown(teacher: PooledEncoder, vocabulary: Vocabulary, labels: Sequence[Pair], english: Tokenizer) -> PooledEncoder:
    """The teacher with rows for the fresh pieces."""
    student = copy.deepcopy(teacher)
    body: Any = student.body
    embeddings = body.get_input_embeddings()
    grown = first_embeddings(vocabulary, labels, english, embeddings.weight.detach())
    body.set_input_embeddings(GrownEmbeddings(grown, vocabulary.fresh))
    body.config.vocab_size = len(grown)
    return student


def _save(student: PooledEncoder, vocabulary: Vocabulary, teacher_dir: Path, folder: Path) -> None:
    body: Any = student.body
    body.set_input_embeddings(body.get_input_embeddings().joined())
    body.save_pretrained(str(folder))
    vocabulary.whole.save(str(folder / "tokenizer.json"))
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (teacher_dir / name).is_file():
            shutil.copy(teacher_dir / name, folder / name)


def _nearness(student_dir: Path, teacher_dir: Path, lessons: Lessons, settings: Distillation) -> dict[str, float]:
    """Mean cosine to the teacher: of new queries to what they say in English, and of English texts."""
    student, teacher = TorchEncoder(student_dir, "student"), TorchEncoder(teacher_dir, "teacher")
    random = np.random.default_rng([settings.seed, 1])
    pairs = [lessons.queries.write(random) for _ in range(_PROBES)]
    texts = [pair.english for pair in pairs] + list(lessons.english[:_PROBES])

    def cosine(one: Sequence[str], other: Sequence[str]) -> float:
        rows = student.encode(one, settings.max_tokens) * teacher.encode(other, settings.max_tokens)
        return round(float(rows.sum(1).mean()), 4)

    return {
        "chinese": cosine([pair.chinese for pair in pairs], [pair.english for pair in pairs]),
        "english": cosine(texts, texts),
    }


def _tokenizer(model_dir: Path) -> Tokenizer:
    tokenizer: Tokenizer = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _version(model_dir: Path) -> str:
    weights = b"".join(file.read_bytes() for file in sorted(model_dir.glob("*.safetensors")))
    return f"bilingual@{hashlib.blake2b(weights, digest_size=4).hexdigest()}"


def _english(products: Sequence[Product], concepts: Iterable[str], seed: int) -> list[str]:
    """What the student is to read as before: product texts, in any order, and the graph's names."""
    texts = list(dict.fromkeys(product_text(product) for product in products))
    np.random.default_rng(seed).shuffle(texts)
    return [*texts, *concepts]


def _queries(file: Path) -> list[str]:
    with file.open(encoding="utf-8", newline="") as rows:
        return [row["query"] for row in csv.DictReader(rows)]


if __name__ == "__main__":
    typer.run(main)
