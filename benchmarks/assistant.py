"""The shopping assistant through the gateway's Converse: written dialogues, shoppers with a goal, and lying models.

    python -m benchmarks.assistant --out R.json --transcripts T.txt

The suite runs in this process with the demo shop and its FAQ.

1. The written dialogues (`assistant_dialogues`): whose turns, and whole dialogues, hold all their checks.
2. Simulated shoppers (`assistant_goals`) talk to the assistant, to a search field and to random questions: how many
   have a fitting product among the first three within four turns. --products with --map takes another catalogue, which
   must have categories, and brands or attributes; then all shoppers speak English, and there are no written dialogues.
3. The dialogues again with two scripted language models (`scripted_models`): one lies in every sentence, of which none
   may get through; the other one tells the truth, of which most should.

An independent checker (`answer_checker`) reads each answer of all parts against the files of catalogue and FAQ. R.json
keeps what is finished: the same command continues.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, TextIO

import grpc
import numpy as np
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks.answer_checker import AnswerChecker, FaqText, Unsupported
from benchmarks.assistant_agents import Assistant, PlainSearch, RandomQuestions
from benchmarks.assistant_dialogues import HALVES, LANGUAGES, Dialogue, JudgedTurn, hold, read_dialogues
from benchmarks.assistant_goals import TURNS, Agent, Goal, Names, Outcome, demo_names, draw_goals, pursue
from benchmarks.assistant_suite import assistant_suite, demo_catalogue, demo_faq, of_model
from benchmarks.conversation import Conversation, Reply
from benchmarks.results import Results
from benchmarks.scripted_models import ScriptedModel, Shop, Writer, lying, truthful
from catalog.products import read_catalogue
from kairos.assistant.v1 import assistant_pb2 as pb
from services.common.product import Product
from training.bootstrap import mean_interval

GOAL = 0.70
# Removed sentences of a model in the report.
_SHOWN = 30
GOAL_TRUTHFUL = 0.90
ASSISTANT, SEARCH, RANDOM = "assistant", "search field", "random questions"


@dataclass
class Checking:
    """Counts what the checker finds, and writes the conversations to a file."""

    checker: AnswerChecker
    transcripts: TextIO | None
    answers: int = 0
    unsupported: list[Unsupported] = field(default_factory=list)

    def begin(self, title: str) -> None:
        self._said = list[str]()
        self._shown = list[str]()
        self._write(f"\n=== {title}\n")

    def look(self, said: str, reply: Reply, faults: Sequence[str] = ()) -> None:
        self._said.append(said)
        found = self.checker.unsupported(reply, self._said, self._shown)
        self._shown = reply.shown_ids or self._shown
        self.answers += 1
        self.unsupported += found
        self._write(_transcript(said, reply))
        self._write("".join(f"  !! {fault}\n" for fault in faults))
        self._write("".join(f"  ## {one.kind}: {one.claim} in: {one.sentence}\n" for one in found))

    def _write(self, text: str) -> None:
        if self.transcripts is not None:
            self.transcripts.write(text)
            self.transcripts.flush()

    def report(self) -> dict[str, Any]:
        kinds = Counter(one.kind for one in self.unsupported)
        return {"answers": self.answers, "unsupported": len(self.unsupported), "kinds": dict(kinds.most_common())}


def _transcript(said: str, reply: Reply) -> str:
    lines = [f"> {said}\n", f"  ({reply.intent}, {reply.first_ms:.0f} ms)\n"]
    for segment in reply.segments:
        cited = (f"{one.product_id or one.faq_id or one.order_id}.{one.field}={one.value}" for one in segment.citations)
        source = pb.AnswerSource.Name(segment.source).removeprefix("ANSWER_SOURCE_").lower()
        lines.append(f"  {segment.text}   [{source}; {', '.join(cited)}]\n")
    for card in reply.cards:
        price = f"{card.product.price.units + card.product.price.nanos / 1e9:.2f}"
        lines.append(f"    {card.position}. {card.product.title} | {price} | {card.product.stock}\n")
    if reply.question is not None:
        chips = " / ".join(chip.text for chip in reply.question.chips)
        lines.append(f"  ? {reply.question.text} ({reply.question.field}) {chips}\n")
    if reply.hand_over is not None:
        reason = pb.HandOverReason.Name(reply.hand_over.reason)
        lines.append(f"  -> person: {reason}: {reply.hand_over.summary}\n")
    if reply.ended is not None and reply.ended.degradations:
        lines.append(f"  degraded: {[one.fallback for one in reply.ended.degradations]}\n")
    return "".join(lines)


def hold_dialogues(
    channel: grpc.Channel, dialogues: Sequence[Dialogue], products: Mapping[str, Product],
    faq: Mapping[str, FaqText], checking: Checking, prefix: str, model: ScriptedModel | None = None,
) -> list[list[JudgedTurn]]:  # fmt: skip
    """Of each dialogue the judged turns. A turn that raised an error ends its dialogue, whose other turns are wrong."""
    questions = {id: entry.question for id, entry in faq.items()}
    judged = list[list[JudgedTurn]]()
    for number, dialogue in enumerate(tqdm(dialogues, desc=f"dialogues, {prefix}")):
        if model is not None:
            model.language = dialogue.language
        checking.begin(f"{prefix} {dialogue.language} {number} ({dialogue.half})")
        try:
            turns = hold(dialogue, Conversation(channel, f"{prefix}-{number}"), products, questions)
        except (grpc.RpcError, RuntimeError) as error:
            turns = [JudgedTurn(turn["say"], Reply(), (f"error: {error}",)) for turn in dialogue.turns]
        for turn in turns:
            checking.look(turn.utterance, turn.reply, turn.faults)
        judged.append(turns)
    return judged


def dialogue_figures(dialogues: Sequence[Dialogue], judged: Sequence[Sequence[JudgedTurn]]) -> dict[str, Any]:
    """Shares of turns and of dialogues without a fault, by language and half."""
    report = dict[str, Any]()
    groups: dict[str, Callable[[Dialogue], bool]] = {"all": lambda one: True}
    groups |= {name: lambda one, name=name: one.language == name for name in LANGUAGES}  # type: ignore[misc]
    groups |= {name: lambda one, name=name: one.half == name for name in HALVES}  # type: ignore[misc]
    groups["three turns or more"] = lambda one: len(one.turns) >= 3
    for name, belongs in groups.items():
        own = [turns for dialogue, turns in zip(dialogues, judged, strict=True) if belongs(dialogue)]
        if own:
            right = np.array([float(all(not turn.faults for turn in turns)) for turns in own])
            turns = [float(not turn.faults) for turns in own for turn in turns]
            report[name] = {
                "dialogues": len(own), "right": round(float(right.mean()), 4),
                "interval_95": mean_interval(right, 0), "right turns": round(float(np.mean(turns)), 4),
            }  # fmt: skip
    first = [turn.reply.first_ms for turns in judged for turn in turns if turn.reply.segments]
    report["first words, ms"] = {f"p{share}": round(float(np.percentile(first, share)), 1) for share in (50, 95)}
    return report


def goal_figures(goals: Sequence[Goal], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The share of goals reached within 1, 2, 3 and 4 turns, by group of shoppers."""
    groups: dict[str, Callable[[Goal], bool]] = {
        "all": lambda one: True,
        "en": lambda one: one.language == "en",
        "zh": lambda one: one.language == "zh",
        "only answer": lambda one: not one.volunteers,
        "volunteer": lambda one: one.volunteers,
    }
    report = dict[str, Any]()
    for name, belongs in groups.items():
        own = [outcome for goal, outcome in zip(goals, outcomes, strict=True) if belongs(goal)]
        if own:
            turns = [outcome.turn or TURNS + 1 for outcome in own]
            reached = np.array([float(turn <= TURNS) for turn in turns])
            asked = sum(outcome.asked for outcome in own)
            report[name] = {
                "goals": len(own), "reached": round(float(reached.mean()), 4), "interval_95": mean_interval(reached, 0),
                "within": [round(float(np.mean([turn <= last for turn in turns])), 4) for last in range(1, TURNS + 1)],
                "questions": round(asked / len(own), 2),
                "useless": round(sum(outcome.useless for outcome in own) / asked, 4) if asked else None,
            }  # fmt: skip
    return report


def pursue_goals(
    channel: grpc.Channel, goals: Sequence[Goal], names: Names, who: str, checking: Checking
) -> list[dict[str, Any]]:
    """The outcomes as JSON."""

    def agent(number: int, goal: Goal) -> Agent:
        if who == SEARCH:
            return PlainSearch(channel, goal.label)
        if who == RANDOM:
            return RandomQuestions(channel, goal.label, names, Random(goal.seed))
        checking.begin(f"goal {number}: {goal.label}, {dict(goal.conditions)}, {goal.budget}")
        return Assistant(Conversation(channel, f"goal-{number}"), checking.look)

    outcomes = list[dict[str, Any]]()
    for number, goal in enumerate(tqdm(goals, desc=f"goals, {who}")):
        try:
            outcomes.append(vars(pursue(goal, agent(number, goal), names)))
        except (grpc.RpcError, RuntimeError) as error:
            if who != ASSISTANT:
                raise
            checking.begin(f"goal {number} failed: {error}")
            outcomes.append(vars(Outcome(None, 0, 0)))
    return outcomes


def passed_sentences(model: ScriptedModel, judged: Sequence[Sequence[JudgedTurn]]) -> dict[str, Any]:
    """How many of the model's sentences the shopper read."""
    texts = [segment.text for turns in judged for turn in turns for segment in turn.reply.segments]
    read = "\n".join(texts)
    passed = sum(sentence in read for sentence in model.sentences)
    share = round(passed / len(model.sentences), 4) if model.sentences else None
    removed = [sentence for sentence in model.sentences if sentence not in read][:_SHOWN]
    return {
        "calls": len(model.prompts), "sentences": len(model.sentences), "passed": passed, "share": share,
        "removed": removed,
    }  # fmt: skip


@contextlib.contextmanager
def _writing(path: Path | None) -> Iterator[TextIO | None]:
    if path is None:
        yield None
    else:
        with path.open("a", encoding="utf-8") as file:
            yield file


def show(parts: Mapping[str, Any]) -> None:
    console = Console()
    if "dialogues" in parts:
        table = Table("written dialogues", "", "right", "95 %", "right turns")
        for name, row in parts["dialogues"]["figures"].items():
            if "right" in row:
                interval = "{:.3f} to {:.3f}".format(*row["interval_95"])
                table.add_row(name, str(row["dialogues"]), f"{row['right']:.3f}", interval, f"{row['right turns']:.3f}")
        console.print(table, parts["dialogues"]["figures"]["first words, ms"], parts["dialogues"]["checked"])
    for who in (ASSISTANT, SEARCH, RANDOM):
        table = Table(who, "goals", "reached", "95 %", "within 1, 2, 3", "asked", "useless")
        for name, row in parts.get(f"goals: {who}", {}).get("figures", {}).items():
            within = " ".join(f"{share:.2f}" for share in row["within"][:-1])
            interval = "{:.3f}-{:.3f}".format(*row["interval_95"])
            table.add_row(name, str(row["goals"]), f"{row['reached']:.3f}", interval, within, str(row["questions"]),
                          "" if row["useless"] is None else f"{row['useless']:.2f}")  # fmt: skip
        console.print(table)
    print(f"Goal: {GOAL:.0%} within {TURNS} turns.", parts.get(f"goals: {ASSISTANT}", {}).get("checked", ""))
    for name in ("lying", "truthful"):
        if f"model: {name}" in parts:
            part = parts[f"model: {name}"]
            said = {key: value for key, value in part["model"].items() if key != "removed"}
            print(f"{name} model:", said, part["checked"])
    print(f"Goal: no unsupported claim; at least {GOAL_TRUTHFUL:.0%} of the truthful sentences pass.")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the JSON file")
    parser.add_argument("--goals", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1, help="of the goals")
    parser.add_argument("--half", choices=HALVES, help="of the dialogues; without it both")
    parser.add_argument("--dialogues", type=int, help="take so many dialogues of each language only")
    parser.add_argument("--products", type=Path, help="another catalogue, for goals alone")
    parser.add_argument("--map", default="", help="as for `kairos catalog import`")
    parser.add_argument("--without-models", action="store_true", help="skip the scripted language models")
    parser.add_argument("--transcripts", type=Path, help="append all conversations with the assistant to this file")
    parser.add_argument("--work", type=Path, help="the folder of the suite's state; without it beside the JSON file")
    arguments = parser.parse_args()
    folder = (arguments.work or arguments.out.with_suffix("")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    settings = {name: str(value) for name, value in vars(arguments).items() if name not in ("out", "transcripts")}
    results = Results(arguments.out, settings)
    is_demo = arguments.products is None
    path = demo_catalogue(folder) if is_demo else arguments.products
    products = {product.id: product for product in read_catalogue(path, arguments.map)}
    names = demo_names(products.values()) if is_demo else Names()
    faq = demo_faq() if is_demo else {}
    goals = draw_goals(list(products.values()), names, arguments.goals, arguments.seed)
    dialogues = [one for one in read_dialogues() if arguments.half in (None, one.half)] if is_demo else []
    if arguments.dialogues is not None:
        own = {language: [one for one in dialogues if one.language == language] for language in LANGUAGES}
        # Evenly spaced: the short ones come first in the files.
        steps = {language: max(1, len(own[language]) // max(1, arguments.dialogues)) for language in LANGUAGES}
        dialogues = [one for name in LANGUAGES for one in own[name][:: steps[name]][: arguments.dialogues]]
    checker = AnswerChecker(products, faq, names.chinese() if is_demo else {})

    with _writing(arguments.transcripts) as file:

        def measure(channel: grpc.Channel, prefix: str, model: ScriptedModel | None = None) -> dict[str, Any]:
            checking = Checking(checker, file)
            judged = hold_dialogues(channel, dialogues, products, faq, checking, prefix, model)
            found = {"figures": dialogue_figures(dialogues, judged), "checked": checking.report()}
            return found | ({"model": passed_sentences(model, judged)} if model else {})

        def goal_part(channel: grpc.Channel, who: str) -> dict[str, Any]:
            checking = Checking(checker, file)
            outcomes = pursue_goals(channel, goals, names, who, checking)
            found = {"figures": goal_figures(goals, [Outcome(**outcome) for outcome in outcomes])}
            return found | ({"checked": checking.report()} if who == ASSISTANT else {})

        with assistant_suite(folder, path, arguments.map, with_faq=is_demo) as channel:
            if dialogues:
                results.part("dialogues", lambda: measure(channel, "no model"))
            for who in (ASSISTANT, SEARCH, RANDOM):
                results.part(f"goals: {who}", lambda who=who: goal_part(channel, who))  # type: ignore[misc]
        writers: dict[str, Callable[[Shop], Writer]] = {"lying": lying, "truthful": truthful}
        if dialogues and not arguments.without_models:
            for name, writer in writers.items():
                model = ScriptedModel(writer(Shop(products, faq, names.values)))
                with model.served() as url, assistant_suite(folder, path, settings=of_model(url)) as channel:
                    results.part(f"model: {name}", lambda: measure(channel, name, model))  # noqa: B023
    show(results.parts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
