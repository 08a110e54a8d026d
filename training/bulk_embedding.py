"""Embeds a whole catalogue: `python -m training.bulk_embedding --catalog FILE --model-version V --out DIR`.

In this process, or with --workers on a Ray cluster (Ray Data), with the same function for a batch. `kairos catalog
reembed --vectors DIR` imports the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import typer
from tqdm import tqdm

from catalog.products import image_path, read_messages
from services.common.settings import load_settings
from services.gateway.domain.fingerprint import product_fingerprint
from services.query_encoder.domain.product_text import product_text
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import build_encoder

# Products of a batch, which the encoder splits into small batches of texts of similar length.
BATCH = 512
TEXTS = pa.schema({"id": pa.string(), "fingerprint": pa.binary(), "text": pa.string()})


class ProductEmbedder:
    """Embeds batches with the served encoder; one object in each process.

    `settings` are those of the query encoder; the model's folder has the same path on every machine.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = QueryEncoderSettings(**settings)
        self._encoder = build_encoder(self._settings, self._settings.threads)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """A table of TEXTS -> id, fingerprint, vector (float16; zeros for an unknown language), model_version."""
        rows = self._encoder.encode(batch["text"].to_pylist(), self._settings.max_product_tokens, "product")
        flat = pa.array(rows.astype(np.float16).ravel())
        return pa.table(
            {
                "id": batch["id"],
                "fingerprint": batch["fingerprint"],
                "vector": pa.FixedSizeListArray.from_arrays(flat, self._encoder.dimensions),
                "model_version": pa.array([self._encoder.model_version] * len(rows)),
            }
        )


def batches_of(catalog: Path, mapping: str, currency: str, images: Path | None) -> Iterator[pa.Table]:
    """Tables of TEXTS: the products, texts and fingerprints that an import of the same file and pictures has."""
    rows = (
        {
            "id": product.id,
            "fingerprint": product_fingerprint(
                message.SerializeToString(deterministic=True),
                _picture(image_path(product, images)) if images else b"",
            ),
            "text": product_text(product),
        }
        for message, product in read_messages(catalog, mapping, currency)
    )
    while batch := list(islice(rows, BATCH)):
        yield pa.Table.from_pylist(batch, TEXTS)


def embed_here(batches: Iterable[pa.Table], settings: dict[str, Any], out: Path) -> None:
    """Writes one file. Until it is complete its name has an underscore, which readers of the folder skip."""
    embedder, draft = ProductEmbedder(settings), out / "_vectors.parquet"
    writer = None
    for batch in tqdm(batches, desc="Embedding", unit=" batches"):
        vectors = embedder(batch)
        writer = writer or pa.parquet.ParquetWriter(draft, vectors.schema)
        writer.write_table(vectors)
    if writer is not None:
        writer.close()
        draft.rename(out / "vectors.parquet")


def embed_on_ray(batches: Iterable[pa.Table], settings: dict[str, Any], out: Path, workers: int) -> None:
    """Writes one file a block, in any order, by `workers` actors. Ray is initialised."""
    # Imported here: without workers neither Ray nor pandas is needed.
    import ray.data

    texts = ray.data.from_arrow(list(batches))
    vectors = texts.map_batches(
        ProductEmbedder,
        fn_constructor_args=(settings,),
        batch_format="pyarrow",
        batch_size=BATCH,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=settings["threads"],
    )
    vectors.write_parquet(str(out))


def main(
    catalog: Annotated[Path, typer.Option(help="As for `kairos catalog import`.")],
    model_version: Annotated[str, typer.Option(help="Version of the vectors.")],
    out: Annotated[Path, typer.Option(help="A new folder, for Parquet files.")],
    model_dir: Annotated[Path | None, typer.Option(help="Sentence-transformer. Empty: the embedded one.")] = None,
    map: Annotated[str, typer.Option(help="As for `kairos catalog import`.")] = "",
    currency: Annotated[str, typer.Option(help="As for `kairos catalog import`.")] = "USD",
    images: Annotated[Path | None, typer.Option(help="As for `kairos catalog import`.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Ray actors; 0: this process alone.")] = 0,
    address: Annotated[str, typer.Option(help="Of the Ray cluster; empty: a local one.")] = "",
) -> None:
    if out.exists() and any(out.iterdir()):
        raise typer.BadParameter(f"{out} is not empty", param_hint="--out")
    out.mkdir(parents=True, exist_ok=True)
    given = {"model_version": model_version} | ({"model_dir": model_dir.resolve()} if model_dir else {})
    settings = load_settings(QueryEncoderSettings, given)
    # All settings: an actor on another machine does not have this environment.
    arguments = settings.model_dump()
    batches = batches_of(catalog, map, currency, images)
    if not workers:
        embed_here(batches, arguments, out)
        return
    import ray

    # A local cluster has the actors' CPUs, and one for reading and writing.
    cpus = None if address else workers * settings.threads + 1
    ray.init(address=address or None, num_cpus=cpus, include_dashboard=False if not address else None)
    try:
        embed_on_ray(batches, arguments, out.resolve(), workers)
    finally:
        ray.shutdown()


def _picture(path: Path | None) -> bytes:
    return b"" if path is None else path.read_bytes()


if __name__ == "__main__":
    typer.run(main)
