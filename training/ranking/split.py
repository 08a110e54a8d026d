"""Who is held back from training: the same persons and rankings for every learner, however often the log is read."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from training.ranking.examples import Examples

# Of the persons, and of the rankings. Judges of versions that were trained apart rely on it: it is no setting.
HELD_BACK = 0.2


def is_held_back(key: str, share: float = HELD_BACK) -> bool:
    """Of a person's key (services/ranker/domain/person.py) or a ranking's id. A greater share adds some keys."""
    return int.from_bytes(hashlib.blake2b(f"held\0{key}".encode(), digest_size=8).digest(), "little") < share * 2**64


def held_back_pages(pages: Examples) -> npt.NDArray[np.bool_]:
    """[r]: those of a ranking that is held back, and all those of a person who is, if the person is known."""
    persons = {person: is_held_back(person) for person in set(pages.persons.tolist()) if person}
    rows = zip(pages.persons.tolist(), pages.ranking_ids.tolist(), strict=True)
    return np.array([persons.get(person, False) or is_held_back(ranking) for person, ranking in rows], np.bool_)
