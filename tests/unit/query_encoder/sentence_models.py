"""Small sentence-transformers with random weights, written by `sentence-transformers` itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2Model,
    T5Config,
    T5EncoderModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

CORPUS = (
    "query: red running shoes for women",
    "passage: a waterproof camera lens with a case and two batteries",
    "Instruct: find the product. Query: hdmi cable",
    "coffee grinder desk lamp кофе наушники 跑步鞋 手机 耳机",
)
# Weights of this size make vectors of different texts differ.
_SIZE: Any = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "initializer_range": 0.3,
}  # fmt: skip


def bert(folder: Path) -> None:
    """WordPiece in lower case, with [CLS] and [SEP]."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=120, special_tokens=special))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    _save(tokenizer, folder, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]")
    BertModel(BertConfig(vocab_size=tokenizer.get_vocab_size(), **_SIZE)).save_pretrained(folder)


def xlm_roberta(folder: Path) -> None:
    """A SentencePiece vocabulary (unigrams), positions that begin after the padding token, which is not 0."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(
        CORPUS, trainers.UnigramTrainer(vocab_size=120, special_tokens=special, unk_token="<unk>")
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    _save(tokenizer, folder, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>", cls_token="<s>")
    config = XLMRobertaConfig(
        vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=66, type_vocab_size=1, pad_token_id=1, **_SIZE
    )
    XLMRobertaModel(config).save_pretrained(folder)


def qwen2(folder: Path, padding_side: str) -> None:
    """A byte-level vocabulary, a causal mask, and a closing token, as the embedding models of Qwen have it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=["<|end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <|end|>", special_tokens=[("<|end|>", 0)])
    _save(tokenizer, folder, pad_token="<|end|>", eos_token="<|end|>", padding_side=padding_side)
    config = Qwen2Config(
        vocab_size=tokenizer.get_vocab_size(), num_key_value_heads=1, max_position_embeddings=64, **_SIZE
    )
    Qwen2Model(config).save_pretrained(folder)


def t5(folder: Path) -> None:
    """An encoder with relative positions, whose configuration names a decoder too."""
    xlm_roberta(folder)
    config = T5Config(
        vocab_size=120, d_model=16, d_ff=32, d_kv=8, num_layers=2, num_heads=2, pad_token_id=1, is_encoder_decoder=True
    )
    T5EncoderModel(config).save_pretrained(folder)


BODIES: Mapping[str, Callable[[Path], None]] = {
    "bert": bert,
    "xlm-roberta": xlm_roberta,
    "qwen2, padded left": partial(qwen2, padding_side="left"),
    "qwen2, padded right": partial(qwen2, padding_side="right"),
    "t5": t5,
}


def sentence_transformer(
    folder: Path,
    body: str,
    pooling: str | Sequence[str],
    prompts: dict[str, str] | None = None,
    include_prompt: bool = True,
    dense: Sequence[Any] = (),
    max_tokens: int = 48,
) -> SentenceTransformer:
    """Writes the model to `folder` and returns it as `sentence-transformers` reads it. `dense`: activations; the layers
    have 12 outputs each, and a normalisation before the second one.
    """
    torch.manual_seed(7)
    BODIES[body](folder / "body")
    transformer = Transformer(str(folder / "body"), max_seq_length=max_tokens)
    width = 16 * (1 if isinstance(pooling, str) else len(pooling))
    modules: list[torch.nn.Module] = [transformer, Pooling(16, pooling, include_prompt=include_prompt)]
    for place, activation in enumerate(dense):
        modules += [Normalize()] * (place == 1)
        modules.append(Dense(width if place == 0 else 12, 12, activation_function=activation))
    SentenceTransformer(modules=[*modules, Normalize()], prompts=prompts, device="cpu").save(str(folder / "model"))
    return SentenceTransformer(str(folder / "model"), device="cpu", local_files_only=True)


def as_older_releases(folder: Path) -> None:
    """Rewrites a model of the modules transformer, pooling by the first token, dense, as older releases wrote it."""
    inner = folder / "0_Transformer"
    inner.mkdir()
    for file in folder.glob("*"):
        if file.is_file() and file.name not in ("modules.json", "config_sentence_transformers.json"):
            file.rename(inner / file.name)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = inner.name
    for module in modules:
        module["type"] = f"sentence_transformers.models.{module['type'].rpartition('.')[2]}"
    (folder / "modules.json").write_text(json.dumps(modules))
    flags = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False, "word_embedding_dimension": 16}
    (folder / modules[1]["path"] / "config.json").write_text(json.dumps(flags))
    dense = folder / modules[2]["path"]
    torch.save(load_file(dense / "model.safetensors"), dense / "pytorch_model.bin")
    (dense / "model.safetensors").unlink()


def _save(tokenizer: Tokenizer, folder: Path, **special: str) -> None:
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, model_max_length=64, **special
    )
    fast.save_pretrained(folder)
