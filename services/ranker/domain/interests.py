"""The interests of one user: several vectors, in place of one mean of all (after PinnerSage, KDD 2020)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.common.arrays import FloatArray, unit_rows
from services.ranker.domain.profile import Profile

MAX_INTERESTS = 6
# Cosine from which two items belong to the same interest.
SIMILAR = 0.45
NAMED_ITEMS = 5


@dataclass(frozen=True)
class Interests:
    """k interests, strongest first: unit rows `vectors` [k, dimensions], `shares` [k] that add up to 1.

    `item_ids[i]` are the items of greatest weight in interest i, the strongest first, at most 5.
    """

    vectors: FloatArray
    shares: FloatArray
    item_ids: tuple[tuple[str, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.shares)

    @classmethod
    def none(cls, dimensions: int = 0) -> Interests:
        return cls(np.zeros((0, dimensions), np.float32), np.zeros(0, np.float32))


def interests(profile: Profile, most: int = MAX_INTERESTS, similar: float = SIMILAR) -> Interests:
    """Leader clustering by cosine over the items of positive weight, the heaviest first.

    The first item starts an interest; each next one joins the most similar interest, or starts its own while there are
    fewer than `most`. The profile's weights fade with time, so that the current interests lead.
    """
    rows = [row for row in np.argsort(-profile.weights, kind="stable").tolist() if profile.weights[row] > 0]
    if not rows:
        return Interests.none(profile.vectors.shape[1])
    # The sums of the members' weighted vectors are kept as their products with every row, and as their squares.
    alike = (profile.vectors @ profile.vectors.T).astype(np.float64)
    products, squares = np.zeros((most, profile.size)), np.zeros(most)
    members: list[list[int]] = []
    for row in rows:
        weight, count = float(profile.weights[row]), len(members)
        near = products[:count, row] / np.sqrt(squares[:count])
        place = int(near.argmax()) if count else 0
        if not count or near[place] < similar:
            if count == most:
                # A weak interest beyond the bound; within another one it would only blur that.
                continue
            place = count
            members.append([])
        members[place].append(row)
        squares[place] += 2 * weight * products[place, row] + weight**2
        products[place] += weight * alike[row]
    sums = [profile.weights[of] @ profile.vectors[of] for of in members]
    weights = np.array([float(profile.weights[of].sum()) for of in members])
    ranked = np.argsort(-weights, kind="stable")
    return Interests(
        unit_rows(np.stack([sums[place] for place in ranked]).astype(np.float32)),
        (weights[ranked] / weights.sum()).astype(np.float32),
        tuple(tuple(profile.item_ids[row] for row in members[place][:NAMED_ITEMS]) for place in ranked),
    )
