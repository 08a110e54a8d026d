"""What an attacker gains from the running suite, and what each defence takes from it.

    python -m benchmarks.adversary --out A.json [--plot A.png] [--cents 2000] [--attempts 30]

The demo shop with simulated honest shoppers stands in a suite in this process. An attacker has a budget of money and of
attempts, and searches the parameters of an attack for the best gain per cost: free draws, then variations of the best
attempt and of the cheapest one. It does the same with a defence switched off. Attacks:

title        words of other products' queries in the own product's texts, also hidden or in look-alike letters
ring         fake visitors who act on the own product, alone or together with bestsellers
picture      pixels of the own picture, until searches for a bestseller's picture find it
ad           a campaign for queries that the product does not answer
click fraud  fake people who click a competitor's ads (the biller's rules over one day)
false bid    a bid that makes a competitor's clicks dearer (the auction over 100 pages)
reviews      praise by visitors made for it (the rating of one product)

A gain of the first four is one of the mean worth of the product's place, 1 for the first and 0 beyond the page; of the
next two it is in cents, of reviews in stars. An interrupted run continues with the same command.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import matplotlib as mpl
from rich.console import Console
from rich.table import Table

from benchmarks.ads_control import publishing_control
from benchmarks.adversary_ads import EXCESSIVE, RULES_OFF, TURN_S, AdAttack, ClickFraud, FalseBids
from benchmarks.adversary_pictures import PictureAttack, encoder_of
from benchmarks.adversary_reviews import ReviewAttack
from benchmarks.adversary_rings import RingAttack, without_one_count_a_person
from benchmarks.adversary_search import Trial, best, cheapest, search
from benchmarks.adversary_shop import build, opened
from benchmarks.adversary_titles import TitleAttack
from benchmarks.results import Results
from demo.catalogue import build_catalogue
from kairos.control.v1 import control_pb2
from services.common.control_access import ControlAccessSettings
from services.sponsored.domain.auction import Mechanism

_DEFENDED = "all defences"
# Of what is attacked.
_SEED = 1


class Runs:
    """The attacks against one shop. Each method gives the trials of a search, with the defence `off` switched off."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self._folder, self._options = folder, options
        self._shops: dict[str, list[str]] = {}

    def title(self, off: str) -> list[Trial]:
        folder, sellers = self._shop("plain")
        with opened(folder, self._options.products, sellers) as (shop, _):
            return self._searched(TitleAttack(shop, Random(_SEED), reads_types=not off))

    def ring(self, off: str) -> list[Trial]:
        folder, sellers = self._shop("plain")
        open_copy = partial(opened, folder, self._options.products, sellers, is_copy=True)
        attack = RingAttack(open_copy, Random(_SEED))
        with without_one_count_a_person() if off else contextlib.nullcontext():
            return self._searched(attack)

    def picture(self, off: str) -> list[Trial]:
        encoder = {"image_model_dir": self._encoder()}
        folder, sellers = self._shop("pictured", encoder=encoder)
        with opened(folder, self._options.products, sellers, encoder=encoder) as (shop, _):
            return self._searched(PictureAttack(shop, Random(_SEED)))

    def ad(self, off: str) -> list[Trial]:
        page = {"relevance_floor": 0.0, "maximum_loss": 1.0} if off else {}
        snapshot = control_pb2.Snapshot(tenant="default", version=1)
        with publishing_control(snapshot) as (control, target):
            access = {
                name: ControlAccessSettings(target=target, folder=self._folder / f"{name} {off}")
                for name in ("gateway", "sponsored")
            }
            settings: dict[str, Any] = {
                "sponsored": {"control": access["sponsored"], "turn_s": TURN_S, "page": page},
                "gateway": {"control": access["gateway"]},
            }
            folder, sellers = self._shop("plain")
            with opened(folder, self._options.products, sellers, is_copy=True, **settings) as (shop, _):
                return self._searched(AdAttack(shop, control, Random(_SEED)))

    def click_fraud(self, off: str) -> list[Trial]:
        return self._searched(ClickFraud(self._options.visitors, _SEED, off))

    def false_bid(self, off: str) -> list[Trial]:
        return self._searched(FalseBids(Mechanism.VCG if off else Mechanism.GSP, _SEED))

    def reviews(self, off: str) -> list[Trial]:
        return self._searched(ReviewAttack(not off))

    def _searched(self, attack: Any) -> list[Trial]:
        options = self._options
        return search(attack.space, attack.attempt, options.cents, options.attempts, Random(options.seed))

    def _shop(self, name: str, **settings: Any) -> tuple[Path, list[str]]:
        """(folder, bestsellers)"""
        folder = self._folder / name
        if name not in self._shops:
            folder.mkdir(parents=True, exist_ok=True)
            self._shops[name] = build(folder, self._options.products, self._options.shoppers, **settings)
        return folder, self._shops[name]

    def _encoder(self) -> Path:
        return encoder_of(self._folder, build_catalogue(size=self._options.products), self._options.encoder_minutes)


def plan(runs: Runs) -> list[tuple[str, str, Callable[[str], list[Trial]]]]:
    """(attack, defence that is off or "", search)"""
    rules = [*RULES_OFF, EXCESSIVE]
    return [
        ("title", "", runs.title), ("title", "product types", runs.title),
        ("ring", "", runs.ring), ("ring", "one count a person", runs.ring),
        ("picture", "", runs.picture),
        ("ad", "", runs.ad), ("ad", "floor of relevance", runs.ad),
        ("click fraud", "", runs.click_fraud), *(("click fraud", rule, runs.click_fraud) for rule in rules),
        ("false bid", "", runs.false_bid), ("false bid", "GSP, with VCG", runs.false_bid),
        ("reviews", "", runs.reviews), ("reviews", "guards of ratings", runs.reviews),
    ]  # fmt: skip


def measured(run: Callable[[str], list[Trial]], off: str) -> dict[str, Any]:
    trials = run(off)
    return {
        "trials": [trial.document() for trial in trials],
        "spent": sum(trial.outcome.cents for trial in trials),
        "calls": sum(trial.outcome.calls for trial in trials),
        "best": best(trials).document(),
        "cheapest": cheapest(trials).document(),
    }


def show(parts: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table("attack", "defence off", "attempts", "best gain", "for cents", "gain / cent", box=None)
    for name, part in parts.items():
        attack, _, off = name.partition(" without ")
        found, cheap = part["best"], part["cheapest"]
        table.add_row(
            attack, off or "–", str(len(part["trials"])), f"{found['gain']:.3g}", f"{found['cents']:.3g}",
            f"{cheap['gain'] / max(cheap['cents'], 0.1):.3g}",
        )  # fmt: skip
    return table


def frontier(trials: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """(cents, the best gain that so much buys), ascending."""
    found, most = list[tuple[float, float]](), 0.0
    for trial in sorted(trials, key=lambda trial: (trial["cents"], -trial["gain"])):
        if trial["gain"] > most:
            most = trial["gain"]
            found.append((max(trial["cents"], 0.1), most))
    return found


def draw(parts: Mapping[str, Mapping[str, Any]], file: Path) -> None:
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    attacks = list(dict.fromkeys(name.partition(" without ")[0] for name in parts))
    figure, axes = plt.subplots(2, 4, figsize=(14, 6), layout="constrained")
    for axis, attack in zip(axes.flat, attacks, strict=False):
        for name, part in parts.items():
            if name.partition(" without ")[0] != attack:
                continue
            points = frontier(part["trials"])
            if points:
                label = name.partition(" without ")[2]
                axis.step(*zip(*points, strict=True), where="post", marker="o", ms=3, label=label or _DEFENDED)
        axis.set(title=attack, xlabel="cents", ylabel="gain", xscale="log")
        if axis.has_data():
            axis.legend(fontsize=7)
    for axis in list(axes.flat)[len(attacks) :]:
        axis.set_axis_off()
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cents", type=float, default=2_000, help="what the attempts of one search cost at most")
    parser.add_argument("--attempts", type=int, default=30, help="of one search")
    parser.add_argument("--products", type=int, default=600, help="products of the demo shop")
    parser.add_argument("--shoppers", type=int, default=200, help="honest shoppers of two weeks")
    parser.add_argument("--visitors", type=int, default=3_000, help="visitors of the day with click fraud")
    parser.add_argument("--encoder-minutes", type=float, default=1.0, help="training of the image encoder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=[], help="attacks to run; default: all")
    parser.add_argument("--plot", type=Path, help="PNG file to write")
    parser.add_argument("--out", type=Path, required=True, help="JSON file with the results")
    options = parser.parse_args()
    names = ("cents", "attempts", "products", "shoppers", "visitors", "encoder_minutes", "seed")
    results = Results(options.out, {name: getattr(options, name) for name in names})
    with tempfile.TemporaryDirectory(prefix="kairos-adversary-") as name:
        for attack, off, run in plan(Runs(Path(name), options)):
            if not options.only or attack in options.only:
                results.part(f"{attack} without {off}" if off else attack, partial(measured, run, off))
    Console().print(show(results.parts))
    if options.plot:
        draw(results.parts, options.plot)


if __name__ == "__main__":
    main()
