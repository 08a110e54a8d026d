"""Lists of what was shown, from the ranker's log: what the weights are fitted on once shoppers have clicked enough."""

from __future__ import annotations

import numpy as np

from services.ranker.domain.weights import Weights
from training.ranking.examples import Examples
from training.ranking.positions import click_weights
from training.shopper.lists import Lists, OneList
from training.shopper.weights import FittedWeights, fit_weights


def impression_lists(examples: Examples) -> Lists:
    """Of the pages without a query. A click weighs as much as its position is rarely examined."""
    weights = click_weights(examples)
    is_search = examples.query.any(axis=1)
    starts = np.searchsorted(examples.page, np.arange(examples.page_count + 1))
    reached = (examples.click + examples.cart + examples.purchase).astype(np.int64)
    return Lists.of(
        [
            OneList(examples.numbers[span], reached[span], weights[span], str(examples.persons[page]))
            for page in np.flatnonzero(~is_search).tolist()
            for span in [slice(starts[page], starts[page + 1])]
        ]
    )


def corrected(weights: Weights, examples: Examples) -> FittedWeights | None:
    """`weights`, which were fitted on persons' newest events, corrected by what shoppers clicked.

    Lists that were shown hold what the weights of the time placed first: they correct weights, and do not begin anew.
    None: as `fit_weights`.
    """
    return fit_weights(impression_lists(examples), weights)
