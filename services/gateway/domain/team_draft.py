"""Team-draft interleaving (Radlinski, Kurup and Joachims 2008): one order of two, and which of them brought what.

Both orders add their best product that is not in the list yet, in turn; a coin says which of them goes first. Where
both would add the same product, it is added once and counts for neither: a click on it says nothing about the two. So
each product that counts has a partner of the other order beside it, and a shopper who clicks at random favours none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Draft:
    """`arms`: the names of both. `pairs`: (product of the first arm, product of the second), as they were added.

    `coin`: what the coin was drawn from.
    """

    experiment: str
    arms: tuple[str, str]
    coin: str
    pairs: Sequence[tuple[str, str]]

    def teams(self, ids: Sequence[str], fixed: Collection[str]) -> list[int]:
        """For each product 1 or 2, the arm that has the credit for it; 0: none.

        `fixed`: products whose places are no arm's choice. Neither they nor their partners count.
        """
        of: dict[str, int] = {}
        for first, second in self.pairs:
            if first not in fixed and second not in fixed:
                of[first], of[second] = 1, 2
        return [of.get(id, 0) for id in ids]


def team_draft(
    first: Sequence[str], second: Sequence[str], key: Callable[[str], str], coin: str
) -> tuple[list[str], list[tuple[str, str]]]:
    """(the order, the pairs of it).

    `key`: what products have in common of which one is shown, such as variants; each order has each key once. What one
    order has and the other has not comes last, and counts for neither. The same `coin` gives the same order.
    """
    random, order, pairs, taken = Random(coin), list[str](), list[tuple[str, str]](), set[str]()
    rests = [_rest(ids, key, taken) for ids in (first, second)]
    while True:
        tops = [next(rest, None) for rest in rests]
        if tops[0] is None or tops[1] is None:
            break
        if key(tops[0]) == key(tops[1]):
            order.append(tops[0])
            taken.add(key(tops[0]))
            continue
        pair = (tops[0], tops[1])
        order.extend(pair if random.random() < 0.5 else pair[::-1])
        taken.update(map(key, pair))
        pairs.append(pair)
    left = [top for top in tops if top is not None]
    for rest in rests:
        left.extend(rest)
    for id in left:
        if key(id) not in taken:
            order.append(id)
            taken.add(key(id))
    return order, pairs


def _rest(ids: Sequence[str], key: Callable[[str], str], taken: set[str]) -> Iterator[str]:
    """The products that are not taken when their turn comes."""
    return (id for id in ids if key(id) not in taken)
