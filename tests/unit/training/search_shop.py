"""A shop of coloured things, and a small encoder with its words: shoppers type "shoelike" for a shoe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

COLOURS = ("red", "blue", "green", "black", "white", "pink")
THINGS = ("shoe", "lamp", "chair", "cable", "mug", "tent")


def tiny_bert(
    folder: Path, colours: Sequence[str] = COLOURS, things: Sequence[str] = THINGS, layers: int = 1, units: int = 64
) -> Path:
    """A BERT of few layers with the vocabulary of the shop, as `transformers` reads it."""
    words = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *colours, *things, *(f"{thing}like" for thing in things))
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]"
    )
    fast.save_pretrained(folder)
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=units,
    )
    BertModel(config).save_pretrained(folder)
    return folder
