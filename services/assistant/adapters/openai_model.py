"""A language model behind an endpoint with OpenAI's API: chat completions, streamed, with one tool."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from openai import AsyncOpenAI

from services.assistant.domain.prompt import Prompt, Said, details_of, prompt_for
from services.assistant.domain.spending import Prices, Spending, SpendingLimits, most_tokens
from services.assistant.model_settings import EndpointSettings
from services.assistant.ports import Writing
from services.common.circuit_breaker import CircuitBreaker
from services.common.errors import Unavailable

# Times that the model may read details before it has to answer, and details that are read at one time.
_MAX_ROUNDS, _MAX_CALLS = 3, 8
# Characters of an answer, and of the arguments of a call. A longer answer is cut.
_MAX_ANSWER = 8_000
# Kept of the turn for the templates, if the model is late.
_RESERVE_S = 0.25
_TOOL = {
    "type": "function",
    "function": {
        "name": "read_details",
        "description": "All facts of one product, FAQ entry or order of the data, with its description.",
        "parameters": {
            "type": "object",
            "properties": {"id": {"type": "string", "description": "The id in the data."}},
            "required": ["id"],
            "additionalProperties": False,
        },
    },
}


@dataclass
class _Round:
    """What one completion has brought: text went out already; the calls of the tool by their index in the stream."""

    # Whether the endpoint stopped at the most tokens.
    is_cut: bool = False

    calls: dict[int, dict[str, str]] = field(default_factory=dict)
    text: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class OpenAIModel:
    """One for a process. `clock`: seconds since 1970, for the day of the limits."""

    def __init__(self, settings: EndpointSettings, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        key = settings.api_key.get_secret_value() if settings.api_key else "none"
        # No retry: a turn has no time for one.
        self._client = AsyncOpenAI(base_url=settings.base_url, api_key=key, max_retries=0, timeout=settings.timeout_s)
        limits = SpendingLimits(settings.daily_tokens, settings.daily_cost)
        self.spending = Spending(limits, Prices(settings.prompt_price, settings.completion_price), clock)
        self.breaker = CircuitBreaker(settings.failures_to_open, settings.probe_s)
        self._running = 0

    async def generate(self, writing: Writing) -> AsyncGenerator[str]:
        if self._running >= self._settings.most_calls:
            raise Unavailable("as many calls of the language model run as are allowed")
        if not self.breaker.allows(time.monotonic()):
            raise Unavailable("the language model has failed repeatedly; its calls are paused")
        generation = self.breaker.generation
        # None: the call says nothing about the endpoint.
        has_failed: bool | None = True
        whole_s = time.monotonic() + self._settings.timeout_s
        until_s = min(whole_s, writing.deadline_s - _RESERVE_S)
        self._running += 1
        try:
            async with aclosing(self._rounds(writing)) as pieces:
                while (piece := await self._next(pieces, until_s)) is not None:
                    yield piece
            has_failed = False
        except (GeneratorExit, asyncio.CancelledError, OverBudget):
            # The caller has enough, or a limit of ours is reached.
            has_failed = False
            raise
        except Late:
            # A turn with less time than the endpoint may take says nothing about it.
            has_failed = True if until_s == whole_s else None
            raise
        finally:
            self._running -= 1
            if has_failed is not None:
                self.breaker.ended(has_failed, generation, time.monotonic())

    async def _next(self, pieces: AsyncGenerator[str], until_s: float) -> str | None:
        """None at the end. The time limit is set for each piece: it must not enclose a yield."""
        try:
            async with asyncio.timeout(max(until_s - time.monotonic(), 0)):
                return await anext(pieces, None)
        except TimeoutError:
            raise Late("no whole answer in time") from None
        except Unavailable:
            raise
        except Exception as error:
            # An endpoint may send anything, and the client raises whatever that leads to.
            raise Unavailable(f"the endpoint failed: {type(error).__name__}") from None

    async def close(self) -> None:
        await self._client.close()

    async def _rounds(self, writing: Writing) -> AsyncGenerator[str]:
        history = [Said(turn.utterance, turn.answer) for turn in writing.history]
        prompt = prompt_for(writing.language, writing.utterance, history, writing.draft, secrets.token_hex(8))
        messages: list[dict[str, Any]] = _messages(prompt)
        written = 0
        for number in range(_MAX_ROUNDS):
            result = _Round()
            async for piece in self._complete(writing.tenant, messages, number + 1 < _MAX_ROUNDS, result):
                written += len(piece)
                if written > _MAX_ANSWER:
                    raise OverBudget(f"the answer has more than {_MAX_ANSWER} characters")
                yield piece
            if result.is_cut:
                raise OverBudget("the answer has more tokens than most_answer_tokens")
            if not result.calls:
                return
            messages.append(_assistant_message(result))
            for call in list(result.calls.values())[:_MAX_CALLS]:
                details = details_of(writing.draft.facts, _argument(call["arguments"]))
                content = json.dumps(details or {"error": "unknown id"}, ensure_ascii=False)
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": content})

    async def _complete(
        self, tenant: str, messages: list[dict[str, Any]], may_read: bool, result: _Round
    ) -> AsyncGenerator[str]:
        settings = self._settings
        prompt_tokens = most_tokens(json.dumps(messages, ensure_ascii=False))
        if prompt_tokens > settings.most_prompt_tokens:
            raise OverBudget(f"the prompt has {prompt_tokens} tokens; at most {settings.most_prompt_tokens}")
        settle = self.spending.reserve(tenant, prompt_tokens, settings.most_answer_tokens)
        if settle is None:
            raise OverBudget("the daily limit of the tenant is reached")
        tools = {"tools": [_TOOL]} if settings.tools and may_read else {}
        try:
            create: Any = self._client.chat.completions.create
            stream = await create(
                model=settings.model,
                messages=messages,
                stream=True,
                stream_options={"include_usage": True},
                max_tokens=settings.most_answer_tokens,
                temperature=settings.temperature,
                **tools,
            )
            try:
                async for chunk in stream:
                    for piece in _read(chunk, result):
                        yield piece
            finally:
                await stream.close()
        finally:
            # An endpoint that reports nothing has used what was sent and received.
            written = most_tokens(result.text) + sum(most_tokens(call["arguments"]) for call in result.calls.values())
            settle(
                prompt_tokens if result.prompt_tokens is None else result.prompt_tokens,
                written if result.completion_tokens is None else result.completion_tokens,
            )


class Late(Unavailable):
    """No whole answer in time."""


class OverBudget(Unavailable):
    """A limit of this configuration, and no failure of the endpoint."""


def _messages(prompt: Prompt) -> list[dict[str, Any]]:
    return [{"role": "system", "content": prompt.rules}, {"role": "user", "content": prompt.data}]


def _read(chunk: Any, result: _Round) -> list[str]:
    """The text of a chunk. What else it brings is kept in `result`."""
    if chunk.usage is not None:
        result.prompt_tokens = max(int(chunk.usage.prompt_tokens), 0)
        result.completion_tokens = max(int(chunk.usage.completion_tokens), 0)
    if not chunk.choices:
        return []
    result.is_cut = result.is_cut or chunk.choices[0].finish_reason == "length"
    delta = chunk.choices[0].delta
    for call in delta.tool_calls or ():
        known = result.calls.setdefault(int(call.index), {"id": "", "name": "", "arguments": ""})
        known["id"] = call.id or known["id"]
        if call.function is not None:
            known["name"] = call.function.name or known["name"]
            known["arguments"] = (known["arguments"] + (call.function.arguments or ""))[:_MAX_ANSWER]
    if not delta.content:
        return []
    result.text += delta.content
    return [str(delta.content)]


def _assistant_message(result: _Round) -> dict[str, Any]:
    calls = [
        {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": call["arguments"]}}
        for call in list(result.calls.values())[:_MAX_CALLS]
    ]
    return {"role": "assistant", "content": result.text or None, "tool_calls": calls}


def _argument(arguments: str) -> str:
    try:
        read = json.loads(arguments)
    except ValueError:
        return ""
    return str(read.get("id", "")) if isinstance(read, dict) else ""
