"""A causal language model of `transformers`, from a folder, in a thread of this process."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from services.assistant.domain.prompt import Prompt, Said, prompt_for
from services.assistant.model_settings import LocalModelSettings
from services.assistant.ports import Writing
from services.common.errors import InvalidArgument, Unavailable

_RESERVE_S = 0.25
_FIELD = "model.local.folder"


class LocalModel:
    """One answer at a time: a further call meanwhile is refused, and templates answer it."""

    def __init__(self, settings: LocalModelSettings) -> None:
        """Loads the model. Nothing is downloaded, and no code of the folder is run. Raises InvalidArgument."""
        folder = settings.folder or Path()
        if not (folder / "config.json").is_file():
            raise InvalidArgument.of(_FIELD, f"{folder} has no config.json; give the folder of a saved model")
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self._model: Any = AutoModelForCausalLM.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, use_safetensors=True
            )
        except (OSError, ValueError, KeyError) as error:
            raise InvalidArgument.of(_FIELD, f"{folder} holds no causal model with a tokenizer: {error}") from None
        self._model.requires_grad_(False)
        self._settings = settings
        self._thread = ThreadPoolExecutor(1, "language-model")
        self._is_busy = threading.Lock()

    async def generate(self, writing: Writing) -> AsyncGenerator[str]:
        until_s = min(time.monotonic() + self._settings.timeout_s, writing.deadline_s - _RESERVE_S)
        history = [Said(turn.utterance, turn.answer) for turn in writing.history]
        prompt = prompt_for(writing.language, writing.utterance, history, writing.draft, secrets.token_hex(8))
        if not self._is_busy.acquire(blocking=False):
            raise Unavailable("the language model writes another answer")
        loop, pieces, stop = asyncio.get_running_loop(), asyncio.Queue[str | Exception | None](), threading.Event()

        def send(piece: str | Exception | None) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, piece)

        def work() -> None:
            try:
                for piece in self._pieces(prompt, until_s, stop):
                    send(piece)
                send(None)
            except Exception as error:
                send(error)
            finally:
                self._is_busy.release()

        self._thread.submit(work)
        try:
            while True:
                async with asyncio.timeout(max(until_s - time.monotonic(), 0)):
                    piece = await pieces.get()
                if piece is None:
                    return
                if isinstance(piece, Exception):
                    raise Unavailable(f"the language model failed: {type(piece).__name__}")
                yield piece
        except TimeoutError:
            raise Unavailable("no whole answer in time") from None
        finally:
            stop.set()

    async def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)

    def _pieces(self, prompt: Prompt, until_s: float, stop: threading.Event) -> Iterator[str]:
        """Greedy decoding, token by token, so that it ends within a token's time."""
        ids = self._ids(prompt)
        written, sent = list[int](), ""
        ends = self._end_ids()
        with torch.inference_mode():
            step, cache = torch.tensor([ids]), None
            while len(written) < self._settings.most_answer_tokens:
                if stop.is_set():
                    return
                if time.monotonic() > until_s:
                    raise TimeoutError
                output = self._model(input_ids=step, past_key_values=cache, use_cache=True)
                token = int(output.logits[0, -1].argmax())
                if token in ends:
                    break
                written.append(token)
                step, cache = torch.tensor([[token]]), output.past_key_values
                text = self._tokenizer.decode(written, skip_special_tokens=True)
                # A character of several tokens is not whole yet.
                if not text.endswith("\ufffd"):
                    yield text[len(sent) :]
                    sent = text

    def _ids(self, prompt: Prompt) -> list[int]:
        """Raises ValueError for a prompt that is too long: a part of it would lack the rules or the end of the data."""
        messages = [{"role": "system", "content": prompt.rules}, {"role": "user", "content": prompt.data}]
        if self._tokenizer.chat_template:
            encoded = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
            ids: list[int] = list(encoded["input_ids"])
        else:
            ids = list(self._tokenizer(f"{prompt.rules}\n\n{prompt.data}\n\n")["input_ids"])
        longest = getattr(self._model.config, "max_position_embeddings", None) or self._settings.most_prompt_tokens
        room = min(self._settings.most_prompt_tokens, longest - self._settings.most_answer_tokens)
        if len(ids) > room:
            raise ValueError(f"the prompt has {len(ids)} tokens, and the model reads {room}")
        return ids

    def _end_ids(self) -> frozenset[int]:
        configured = self._model.generation_config.eos_token_id
        ends = configured if isinstance(configured, list) else [configured]
        return frozenset(end for end in (*ends, self._tokenizer.eos_token_id) if end is not None)
