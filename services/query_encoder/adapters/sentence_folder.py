"""Reads the folder of a sentence-transformer: its modules, pooling, prompts and limits. Needs no torch.

A folder without modules.json is a model of `transformers` alone: the mean of its tokens, without prompts. A model that
needs anything else is refused, since its vectors would be other ones:
https://sbert.net/docs/package_reference/sentence_transformer/models.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.query_encoder.ports import TextKind

MEAN = "mean"
# By the flag of each pooling in the files of older releases, in the order in which several are joined.
_POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": MEAN,
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
# Names in torch.nn.
_ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid")
# The names of prompts for each kind of text; of several the first that is not empty.
_PROMPTS: Mapping[TextKind, Sequence[str]] = {"query": ("query",), "product": ("document", "passage", "corpus")}
# Modules of a model, and characters of a prompt.
_MAX_MODULES, _MAX_PROMPT = 16, 2_000
# Types of models whose positions begin after the number of the padding token.
_SHIFTED_POSITIONS = ("camembert", "longformer", "mpnet", "roberta", "xlm-roberta", "xlm-roberta-xl")
_OTHER_MODEL = "use a model of the modules Transformer, Pooling, Dense and Normalize"


@dataclass(frozen=True)
class DenseLayer:
    """A linear layer and an activation, a name in torch.nn. `weights`: a safetensors file, or one of torch.save."""

    weights: Path
    inputs: int
    outputs: int
    bias: bool
    activation: str


@dataclass(frozen=True)
class SentenceFolder:
    """`transformer_dir`: config, weights and tokenizer.

    `poolings`: their results are joined to one vector. `pools_prompt`: whether the tokens of the prompt are pooled.
    `after_pooling`: dense layers and normalisations (None), without the last normalisation, which every vector gets.
    `prompts`: what is put before a text. `max_tokens`: word pieces that the model reads, those of the prompt included;
    None if the folder names no limit. `about`: the files that say all of this, beside config.json and the tokenizer.
    """

    transformer_dir: Path
    poolings: tuple[str, ...] = (MEAN,)
    pools_prompt: bool = True
    after_pooling: tuple[DenseLayer | None, ...] = ()
    prompts: Mapping[TextKind, str] = field(default_factory=dict)
    max_tokens: int | None = None
    lower_case: bool = False
    about: tuple[Path, ...] = ()

    @property
    def is_mean(self) -> bool:
        """Whether a vector is the mean of all tokens, and nothing else."""
        return self.poolings == (MEAN,) and self.pools_prompt and not self.after_pooling

    @property
    def weights(self) -> list[Path]:
        """The files with the weights of the transformer."""
        safe = sorted(self.transformer_dir.glob("*.safetensors"))
        return safe or sorted(self.transformer_dir.glob("pytorch_model*.bin"))


def read_sentence_folder(model_dir: Path) -> SentenceFolder:
    """Raises ValueError that names the file and the remedy for a model that cannot be served as it was trained."""
    modules = _modules(model_dir)
    transformer_dir = model_dir / modules[0][1] if modules else model_dir
    config = _object(transformer_dir / "config.json")
    if "AutoModel" in (config.get("auto_map") or {}):
        raise ValueError(
            f"{transformer_dir / 'config.json'}: auto_map: the model needs code of its own, which is never run; use a "
            "model that `transformers` knows, or remove auto_map if its own class gives the same vectors"
        )
    if (transformer_dir / "adapter_config.json").is_file():
        raise ValueError(
            f"{transformer_dir / 'adapter_config.json'}: adapters are not read; merge them into the model with "
            "merge_and_unload of `peft` and save it again"
        )
    # Older releases named the file after the architecture: sentence_roberta_config.json.
    reading = next(iter(sorted(transformer_dir.glob("sentence_*_config.json"))), None)
    limit, lower_case = _reading(transformer_dir, config, reading)
    if not modules:
        own = () if reading is None else (reading,)
        return SentenceFolder(transformer_dir, max_tokens=limit, lower_case=lower_case, about=own)
    poolings, pools_prompt = _pooling(model_dir / modules[1][1] / "config.json")
    after = [_dense(model_dir / path) if name == "Dense" else None for name, path in modules[2:]]
    while after and after[-1] is None:
        after.pop()
    prompts = model_dir / "config_sentence_transformers.json"
    files = (
        model_dir / "modules.json",
        prompts,
        reading,
        *(model_dir / path / "config.json" for _, path in modules[1:]),
    )
    about = tuple(file for file in files if file is not None and file.is_file())
    return SentenceFolder(
        transformer_dir, poolings, pools_prompt, tuple(after), _prompts(prompts), limit, lower_case, about
    )


def _modules(model_dir: Path) -> list[tuple[str, str]]:
    """(name of the class, folder) of each module; empty without modules.json."""
    file = model_dir / "modules.json"
    if not file.is_file():
        return []
    found = _json(file)
    if not isinstance(found, list) or not all(isinstance(module, dict) for module in found):
        raise ValueError(f"{file}: is not a list of modules; save the model again with `sentence-transformers`")
    if len(found) > _MAX_MODULES:
        raise ValueError(f"{file}: has {len(found)} modules; at most {_MAX_MODULES}: {_OTHER_MODEL}")
    modules = []
    for module in found:
        kind, path = str(module.get("type", "")), str(module.get("path", ""))
        package, name = kind.partition(".")[0], kind.rpartition(".")[2]
        if package != "sentence_transformers" or name not in ("Transformer", "Pooling", "Dense", "Normalize"):
            raise ValueError(f"{file}: type: {kind!r} is not supported; {_OTHER_MODEL}")
        if not (model_dir / path).resolve().is_relative_to(model_dir.resolve()):
            raise ValueError(f"{file}: path: {path!r} is outside of the model's folder; copy the module into it")
        modules.append((name, path))
    names = [name for name, _ in modules]
    if names[:2] != ["Transformer", "Pooling"] or {"Transformer", "Pooling"} & set(names[2:]):
        raise ValueError(f"{file}: the modules are {', '.join(names)}; {_OTHER_MODEL}, in this order")
    return modules


def _pooling(file: Path) -> tuple[tuple[str, ...], bool]:
    """(poolings, whether the prompt is pooled)."""
    config = _object(file)
    mode = config.get("pooling_mode") or [name for flag, name in _POOLINGS.items() if config.get(flag)] or MEAN
    poolings = (mode,) if isinstance(mode, str) else tuple(mode)
    for pooling in poolings:
        if pooling not in _POOLINGS.values():
            raise ValueError(
                f"{file}: pooling_mode: {pooling!r} is not supported; use a model with {', '.join(_POOLINGS.values())}"
            )
    return poolings, bool(config.get("include_prompt", True))


def _dense(folder: Path) -> DenseLayer:
    file = folder / "config.json"
    config = _object(file)
    path = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    activation = path.rpartition(".")[2]
    if not path.startswith("torch.nn.") or activation not in _ACTIVATIONS:
        raise ValueError(
            f"{file}: activation_function: {path!r} is not supported; use a model with {', '.join(_ACTIVATIONS)}"
        )
    vector = {"module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}
    for name, only in (vector | {"use_residual": False}).items():
        if config.get(name) not in (None, only):
            raise ValueError(f"{file}: {name}: {config[name]!r} is not supported; use a model with {only!r}")
    safe, pickled = folder / "model.safetensors", folder / "pytorch_model.bin"
    if not safe.is_file() and not pickled.is_file():
        raise ValueError(f"{folder}: has neither {safe.name} nor {pickled.name}; copy the whole folder of the model")
    try:
        inputs, outputs = int(config["in_features"]), int(config["out_features"])
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{file}: in_features and out_features must be numbers; save the model again") from None
    return DenseLayer(safe if safe.is_file() else pickled, inputs, outputs, bool(config.get("bias", True)), activation)


def _prompts(file: Path) -> dict[TextKind, str]:
    config = _object(file) if file.is_file() else {}
    given = config.get("prompts") or {}
    default = config.get("default_prompt_name")
    if default is not None and default not in given:
        raise ValueError(f"{file}: default_prompt_name: {default!r} is not in prompts; add it or remove the name")
    prompts: dict[TextKind, str] = {}
    for kind, names in _PROMPTS.items():
        found = [given[name] for name in names if given.get(name) is not None]
        prompt = next(filter(None, found), "") if found or default is None else given[default] or ""
        if not isinstance(prompt, str) or len(prompt) > _MAX_PROMPT:
            raise ValueError(f"{file}: prompts: {', '.join(names)} must be texts of at most {_MAX_PROMPT} characters")
        prompts[kind] = prompt
    return prompts


def _reading(transformer_dir: Path, config: Mapping[str, Any], given: Path | None) -> tuple[int | None, bool]:
    """(most word pieces, whether texts are written in lower case before they are split)."""
    reading = _object(given) if given is not None else {}
    for name in ("query_length", "document_length", "query_expansion", "processing_kwargs"):
        if reading.get(name):
            raise ValueError(f"{given}: {name}: is not supported; {_OTHER_MODEL}")
    text = (reading.get("modality_config") or {}).get("text", {"method_output_name": "last_hidden_state"})
    if reading.get("transformer_task", "feature-extraction") != "feature-extraction" or text.get(
        "method_output_name"
    ) not in ("last_hidden_state", ["last_hidden_state"]):
        raise ValueError(f"{given}: transformer_task: only the last hidden state of texts is read; {_OTHER_MODEL}")
    file = transformer_dir / "tokenizer_config.json"
    stated = reading.get("max_seq_length") or (_object(file) if file.is_file() else {}).get("model_max_length")
    positions = config.get("max_position_embeddings")
    if positions and config.get("model_type") in _SHIFTED_POSITIONS:
        positions -= int(config.get("pad_token_id") or 0) + 1
    limits = [int(limit) for limit in (stated, positions) if limit and limit > 0]
    return min(limits, default=None), bool(reading.get("do_lower_case", False))


def _object(file: Path) -> dict[str, Any]:
    found = _json(file)
    if not isinstance(found, dict):
        raise ValueError(f"{file}: is not a JSON object; copy the whole folder of the model")
    return found


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: cannot be read ({error}); copy the whole folder of the model") from None
