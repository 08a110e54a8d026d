"""`python -m training.bilingual --out DIR`: distils an encoder that reads Chinese from the English one.

The training pairs come from the concept graph and, with a catalogue, from its titles in both languages. The result is a
model folder for KAIROS_QUERY_ENCODER_MODEL_DIR.
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
from services.query_encoder.adapters.domain_files import load_domain
from services.query_encoder.adapters.sentence_folder import read_sentence_folder
from services.query_encoder.adapters.torch_encoder import PooledEncoder, TorchEncoder, load_model
from services.query_encoder.domain.product_text import product_text
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import embedded_model_dir
from training.bilingual.distil import Distillation, TrainingTexts, distil
from training.bilingual.texts import (
    HeldOut,
    QueryWriter,
    Translation,
    catalogue_translations,
    label_translations,
    with_traditional,
)
from training.bilingual.vocabulary import ExtendedEmbeddings, Vocabulary, extended, initial_embeddings

# Generated queries and English texts for the reported cosine to the teacher.
_PROBES = 400


def main(
    out: Annotated[Path, typer.Option(help="The student's folder; must not exist.")],
    catalog: Annotated[Path | None, typer.Option(help="The shop's catalogue, as for `kairos catalog import`.")] = None,
    map: Annotated[str, typer.Option(help="As for `kairos catalog import`.")] = "",
    hold_out: Annotated[list[Path], typer.Option(help="CSV with a column query: not trained on.")] = [],  # noqa: B006
    teacher: Annotated[Path | None, typer.Option(help="The English model's folder. Default: the embedded one.")] = None,
    steps: int = Distillation.steps,
    minutes: Annotated[float, typer.Option(help="Ends the training early.")] = Distillation.minutes,
    layers: Annotated[int, typer.Option(help="Number of lowest layers that are also trained.")] = Distillation.layers,
    seed: int = Distillation.seed,
    threads: int = 1,
) -> None:
    if out.exists():
        raise typer.BadParameter(f"{out} exists; remove it or name another folder", param_hint="--out")
    torch.set_num_threads(threads)
    encoder = QueryEncoderSettings()
    graph = load_domain(encoder.domain_dir, encoder.concepts_file, encoder.extra_concepts_file).graph
    products = read_catalogue(catalog, map) if catalog else []
    texts = TrainingTexts(
        QueryWriter(graph), label_translations(graph), catalogue_translations(products),
        _english(products, graph.concepts, seed), HeldOut(query for file in hold_out for query in _queries(file)),
    )  # fmt: skip
    settings = Distillation(steps=steps, minutes=minutes, layers=layers, seed=seed)
    report = train(teacher or embedded_model_dir(), texts, sorted(graph.fillers), out, settings)
    print(json.dumps(report, indent=2))
    print(f"Serve it with\n  KAIROS_QUERY_ENCODER_MODEL_DIR={out.resolve()}")
    print(f"  KAIROS_QUERY_ENCODER_MODEL_VERSION={_version(out)}")
    print("and re-import the catalogue into an empty collection: its vectors belong to another model.")
    if not layers:
        print("The vectors of an English catalogue do not change: to keep them, keep the old MODEL_VERSION.")


def train(
    teacher_dir: Path, texts: TrainingTexts, fillers: Sequence[str], out: Path, settings: Distillation
) -> dict[str, Any]:
    """Writes the model folder to `out`; returns a report with the student's cosine to its teacher.

    Raises ValueError for a teacher with another pooling than the mean, or with prompts.
    """
    read = read_sentence_folder(teacher_dir)
    if not read.is_mean or any(read.prompts.values()):
        raise ValueError(f"{teacher_dir}: only the mean of all tokens without prompts is taught; name another teacher")
    english = _tokenizer(teacher_dir)
    teacher = load_model(teacher_dir)
    chinese = [pair.chinese for pair in (*texts.labels, *texts.titles)] + list(fillers)
    words = [*(pair.chinese for pair in texts.labels), *fillers]
    vocabulary = extended(english, with_traditional(chinese), words)
    student = _extended_model(teacher, vocabulary, texts.labels, english)
    report = distil(student, teacher, vocabulary, english, texts, settings)
    work = out.with_suffix(".new")
    shutil.rmtree(work, ignore_errors=True)
    _save(student, vocabulary, teacher_dir, work)
    report |= {"pieces": {"new": int(vocabulary.is_new.sum()), "all": len(vocabulary.is_new)}}
    report |= {"cosine": _cosines(work, teacher_dir, texts, settings)}
    (work / "training.json").write_text(json.dumps(report, indent=2) + "\n")
    os.rename(work, out)
    return report


def _extended_model(
    teacher: PooledEncoder, vocabulary: Vocabulary, labels: Sequence[Translation], english: Tokenizer
) -> PooledEncoder:
    """A copy of the teacher with embeddings for the new pieces."""
    student = copy.deepcopy(teacher)
    body: Any = student.body
    embeddings = body.get_input_embeddings()
    initial = initial_embeddings(vocabulary, labels, english, embeddings.weight.detach())
    body.set_input_embeddings(ExtendedEmbeddings(initial, vocabulary.is_new))
    body.config.vocab_size = len(initial)
    return student


def _save(student: PooledEncoder, vocabulary: Vocabulary, teacher_dir: Path, folder: Path) -> None:
    body: Any = student.body
    body.set_input_embeddings(body.get_input_embeddings().merged())
    body.save_pretrained(str(folder))
    vocabulary.words.save(str(folder / "tokenizer.json"))
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (teacher_dir / name).is_file():
            shutil.copy(teacher_dir / name, folder / name)


def _cosines(student_dir: Path, teacher_dir: Path, texts: TrainingTexts, settings: Distillation) -> dict[str, float]:
    """Mean cosine of the student to the teacher: of new Chinese queries to their translations, and of English texts."""
    student, teacher = TorchEncoder(student_dir, "student"), TorchEncoder(teacher_dir, "teacher")
    random = np.random.default_rng([settings.seed, 1])
    pairs = [texts.queries.write(random) for _ in range(_PROBES)]
    english = [pair.english for pair in pairs] + list(texts.english[:_PROBES])

    def cosine(one: Sequence[str], other: Sequence[str]) -> float:
        rows = student.encode(one, settings.max_tokens, "query") * teacher.encode(other, settings.max_tokens, "query")
        return round(float(rows.sum(1).mean()), 4)

    return {
        "chinese": cosine([pair.chinese for pair in pairs], [pair.english for pair in pairs]),
        "english": cosine(english, english),
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
    """Texts whose vectors must not change: product texts in random order, and the names of the graph's concepts."""
    texts = list(dict.fromkeys(product_text(product) for product in products))
    np.random.default_rng(seed).shuffle(texts)
    return [*texts, *concepts]


def _queries(file: Path) -> list[str]:
    with file.open(encoding="utf-8", newline="") as rows:
        return [row["query"] for row in csv.DictReader(rows)]


if __name__ == "__main__":
    typer.run(main)
