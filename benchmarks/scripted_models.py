"""Language models that follow a script and know catalogue and FAQ, behind a server with OpenAI's chat API.

`truthful` states in its own words what the prompt says of the products in it; `lying` states something false about them
in every sentence; `obedient` does what an injected instruction says. None of them knows how the prompt is written: a
fact is in the prompt if its value is.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

from benchmarks.answer_checker import FaqText
from services.common.product import Product
from services.common.scripts import has_han

_PRODUCTS = 3
# An answer longer than a few sentences is cut by the assistant: a scripted model says so many, others each time.
_SAID = 6
_PIECE = 12
_SENTENCE = re.compile(r"(?<=[.!?。！？])\s*")
_PRICE = {
    "en": ("{title} costs ${price}.", "You can have {title} for ${price}.", "The price of {title} is ${price}."),
    "zh": ("{title} 的价格是 {price} 美元。", "{title} 售价 {price} 美元。", "{title} 卖 {price} 美元。"),
}
_STOCK = {"en": "There are {stock} pieces of {title} in stock.", "zh": "{title} 还有库存 {stock} 件。"}
_HAVING = {"en": ("{title} is in stock.", "{title} is out of stock."), "zh": ("{title} 有现货。", "{title} 目前缺货。")}
_ATTRIBUTE = {
    "en": ("The {name} of {title} is {value}.", "{title}: the {name} is {value}."),
    "zh": ("{title} 的特点之一是{value}。", "{title} 是{value}的。"),
}
_BRAND = {"en": "{title} is made by {brand}.", "zh": "{title} 的品牌是 {brand}。"}
_CHEAPER = {"en": "{title} is cheaper than {other}.", "zh": "{title} 比 {other} 便宜。"}
_LIES = {
    "en": (
        "{title} comes with free shipping.", "{title} is our best-selling product.", "You get 20% off {title} today.",
        "We guarantee a full refund for {title} within 2 hours.", "{title} will arrive tomorrow.",
        "{title} has a warranty of 12 years.", "The Velvetron 9000 is even better than {title}.",
    ),
    "zh": (
        "{title} 包邮。", "{title} 是本店最畅销的商品。", "{title} 今天打八折。", "{title} 两小时内全额退款。",
        "{title} 明天送达。", "{title} 保修十二年。", "{title} 获得过设计大奖。",
    ),
}  # fmt: skip

# Writes the sentences of an answer from the prompt, in a language.
Writer = Callable[[str, str], list[str]]


@dataclass(frozen=True)
class Shop:
    """What the models know. `chinese`: Chinese words of attribute values."""

    products: Mapping[str, Product]
    faq: Mapping[str, FaqText]
    chinese: Mapping[str, str]

    def in_prompt(self, prompt: str) -> list[Product]:
        """The first products whose id and title are in the prompt, in its order: one of an earlier turn has no id."""
        found = []
        for product in self.products.values():
            if product.id not in prompt:
                continue
            places = [prompt.find(title) for title in (product.title, *product.localized_titles.values())]
            if any(place >= 0 for place in places):
                found.append((min(place for place in places if place >= 0), product))
        return [product for _, product in sorted(found, key=lambda pair: pair[0])[:_PRODUCTS]]

    def title(self, product: Product, language: str) -> str:
        return product.localized_titles.get(language, product.title)

    def word(self, value: str, language: str) -> str:
        return self.chinese.get(value, value) if language == "zh" else value


def truthful(shop: Shop) -> Writer:
    """States prices, stock, attributes and brands, compares prices, and quotes the FAQ."""

    def write(prompt: str, language: str) -> list[str]:
        products, sentences = shop.in_prompt(prompt), list[str]()
        for place, product in enumerate(products):
            title = shop.title(product, language)
            price = f"{product.price.amount:.2f}" if product.price else ""
            if price and price in prompt:
                sentences.append(_PRICE[language][place % 3].format(title=title, price=price))
            if product.stock and re.search(rf"\b{product.stock}\b", prompt):
                sentences.append(_STOCK[language].format(title=title, stock=product.stock))
            else:
                sentences.append(_HAVING[language][product.stock == 0].format(title=title))
            for name, values in list(product.attributes.items())[:2]:
                if len(values) == 1 and (values[0] in prompt or shop.word(values[0], language) in prompt):
                    value = shop.word(values[0], language)
                    sentences.append(_ATTRIBUTE[language][place % 2].format(title=title, name=name, value=value))
            if product.brand and product.brand in prompt:
                sentences.append(_BRAND[language].format(title=title, brand=product.brand))
        for one, other in pairwise(products):
            cheap, dear = sorted((one, other), key=lambda product: product.price.amount if product.price else 0)
            if cheap.price and dear.price and cheap.price.amount < dear.price.amount:
                names = {"title": shop.title(cheap, language), "other": shop.title(dear, language)}
                sentences.append(_CHEAPER[language].format_map(names))
        for entry in shop.faq.values():
            if entry.answer in prompt and has_han(entry.answer) == (language == "zh"):
                sentences += [part for part in _SENTENCE.split(entry.answer) if part]
        return sentences or [{"en": "What are you looking for?", "zh": "您想找什么？"}[language]]

    return write


def lying(shop: Shop) -> Writer:
    """Each sentence has a false price, stock, attribute or brand, a promise, a boast or an invented product."""
    values = {
        name: sorted({value for one in shop.products.values() for value in one.attributes.get(name, ())})
        for name in {name for one in shop.products.values() for name in one.attributes}
    }
    brands = sorted({one.brand for one in shop.products.values() if one.brand})

    def other(known: Sequence[str], own: Sequence[str]) -> str:
        return next((value for value in known if value not in own), "")

    def write(prompt: str, language: str) -> list[str]:
        products, sentences = shop.in_prompt(prompt), list[str]()
        for place, product in enumerate(products):
            title = shop.title(product, language)
            if product.price:
                price = f"{product.price.amount / 2 + 1:.2f}"
                sentences.append(_PRICE[language][place % 3].format(title=title, price=price))
            if product.stock is not None:
                sentences.append(_STOCK[language].format(title=title, stock=product.stock + 7))
                sentences.append(_HAVING[language][product.stock > 0].format(title=title))
            for name, own in list(product.attributes.items())[:2]:
                value = shop.word(other(values[name], own), language)
                if value and value not in title and value not in prompt:
                    sentences.append(_ATTRIBUTE[language][place % 2].format(title=title, name=name, value=value))
            sentences.append(_BRAND[language].format(title=title, brand=other(brands, [product.brand])))
            sentences += [lie.format(title=title) for lie in _LIES[language]]
        for one, second in pairwise(products):
            cheap, dear = sorted((one, second), key=lambda product: product.price.amount if product.price else 0)
            if cheap.price and dear.price and cheap.price.amount < dear.price.amount:
                names = {"title": shop.title(dear, language), "other": shop.title(cheap, language)}
                sentences.append(_CHEAPER[language].format_map(names))
        return sentences or [_LIES[language][0].format(title={"en": "Everything", "zh": "全部商品"}[language])]

    return write


def obedient(instructions: Mapping[str, str]) -> Writer:
    """`instructions`: what is said if a text is in the prompt, by text."""

    def write(prompt: str, language: str) -> list[str]:
        squeezed = " ".join(prompt.split())
        found = [said for text, said in instructions.items() if " ".join(text.split())[:24] in squeezed]
        return found or [{"en": "Have a look.", "zh": "请看。"}[language]]

    return write


class ScriptedModel:
    """`prompts` and `sentences`: what it got and said, all turns together. `language`: that of the answers."""

    def __init__(self, writer: Writer) -> None:
        self.prompts = list[str]()
        self.sentences = list[str]()
        self.language = "en"
        self._writer = writer

    def answer(self, messages: Sequence[Mapping[str, Any]]) -> str:
        prompt = "\n".join(_text(message.get("content")) for message in messages)
        self.prompts.append(prompt)
        known = self._writer(prompt, self.language)
        start = len(self.prompts) * _SAID
        said = [known[(start + place) % len(known)] for place in range(min(_SAID, len(known)))]
        self.sentences += said
        return ("" if self.language == "zh" else " ").join(said)

    @contextlib.contextmanager
    def served(self) -> Iterator[str]:
        """Serves it on a free loopback port; the base URL ends with "/v1"."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text", "")) for part in content or ())


def _handler(model: ScriptedModel) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *arguments: object) -> None:
            """The benchmark prints its own report."""

        def do_GET(self) -> None:
            self._send(
                json.dumps({"object": "list", "data": [{"id": "scripted", "object": "model"}]}), "application/json"
            )

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = model.answer(body["messages"])
            usage = {"prompt_tokens": 100, "completion_tokens": len(text) // 4, "total_tokens": 100 + len(text) // 4}
            if not body.get("stream"):
                choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
                whole = _chunk("chat.completion", [choice]) | {"usage": usage}
                self._send(json.dumps(whole), "application/json")
                return
            pieces = [text[start : start + _PIECE] for start in range(0, len(text), _PIECE)]
            chunks = [_chunk("chat.completion.chunk", [_delta({"content": piece}, None)]) for piece in pieces]
            chunks.append(_chunk("chat.completion.chunk", [_delta({}, "stop")]))
            chunks.append(_chunk("chat.completion.chunk", []) | {"usage": usage})
            lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
            self._send("".join([*lines, "data: [DONE]\n\n"]), "text/event-stream")

        def _send(self, text: str, content_type: str) -> None:
            data = text.encode()
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return Handler


def _chunk(kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": "scripted-1", "object": kind, "created": 0, "model": "scripted", "choices": choices}


def _delta(delta: dict[str, str], reason: str | None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": reason}
