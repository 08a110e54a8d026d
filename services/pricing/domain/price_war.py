"""When a price war has begun, and how prices leave it.

A round of a price war: a competitor cuts its price below the shop's, and the shop's price follows down. Only a cut by
one per cent or more below everything since the war began counts, so that prices which move up and down are none. After
so many rounds prices are calm: the shop's price does not fall, and returns to the shop's own price step by step.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

_LEAST_CUT = Decimal("0.01")


@dataclass(frozen=True)
class Damper:
    """`rounds` within `window_s` end a war for `pause_s`. `step`: of the way back in a period, as a share of the shop's
    price.
    """

    rounds: int
    window_s: float
    pause_s: float
    step: Decimal


@dataclass(frozen=True)
class PriceWar:
    """`own` and `competitor`: the lowest prices since it began. `cut_s`: of the last cut, in seconds since the epoch.

    `rounds_s`: when the shop's price followed down. `is_undercut`: the competitor has cut, and the shop has not
    followed. `calm_until_s`: the war was ended, until then.
    """

    own: Decimal
    competitor: Decimal
    cut_s: float
    rounds_s: tuple[float, ...] = ()
    is_undercut: bool = False
    calm_until_s: float = 0.0

    def is_calm(self, now_s: float) -> bool:
        return now_s < self.calm_until_s


def followed(
    war: PriceWar | None, before: Decimal, own: Decimal, competitor: Decimal | None, damper: Damper, now_s: float
) -> PriceWar | None:
    """The war after the shop's price went from `before` to `own`, beside the lowest price of its competitors, None: not
    known.
    """
    if war is not None and war.is_calm(now_s):
        return war
    if competitor is None:
        return None
    if war is None or war.calm_until_s or now_s - war.cut_s > damper.window_s:
        war = PriceWar(before, competitor, now_s, is_undercut=competitor < before)
    is_cut, has_followed = _is_cut(war.competitor, competitor), _is_cut(war.own, own)
    is_undercut = war.is_undercut or (is_cut and competitor < before)
    rounds_s = tuple(round_s for round_s in war.rounds_s if now_s - round_s <= damper.window_s)
    if is_undercut and has_followed:
        is_undercut, rounds_s = False, (*rounds_s, now_s)
    return PriceWar(
        min(own, war.own), min(competitor, war.competitor), now_s if is_cut or has_followed else war.cut_s, rounds_s,
        is_undercut, now_s + damper.pause_s if len(rounds_s) >= damper.rounds else 0.0,
    )  # fmt: skip


def least_share(war: PriceWar | None, current: Decimal, damper: Damper | None, now_s: float) -> Decimal | None:
    """What the next price must not be below, as a share of the shop's price; None: there is no calm."""
    if damper is None or war is None or not war.is_calm(now_s):
        return None
    return min(current + damper.step, max(current, Decimal(1)))


def _is_cut(before: Decimal, now: Decimal) -> bool:
    return now <= before * (1 - _LEAST_CUT)
