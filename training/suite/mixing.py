"""The weights of a query and of its session, chosen on sessions whose last query was held back from the training.

The searches and clicks of a session are repeated through the gateway, for a shopper of their own, and the place of the
product that was clicked after the last query is measured. Only the ratio of the weights matters: alpha is 1.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import grpc
import numpy as np
import numpy.typing as npt

from kairos.common.v1 import event_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from services.query_encoder.settings import QueryEncoderSettings
from training.bootstrap import mean_interval
from training.search.catalogue import SearchedCatalogue, TrainedSearch
from training.search.clicks import SearchedList, normalised
from training.search.data import NDCG_DEPTH

ALPHA = 1.0
# Without a session first: another weight is chosen only if it is surely better than that.
BETAS = (0.0, 0.075, 0.15, 0.3, 0.6)
# With fewer sessions the weight of the settings stays. The newest sessions are measured, and of each the last searches.
LEAST_SESSIONS, MOST_SESSIONS, _MOST_SEARCHES = 50, 300, 5
_SHOWN, _TIMEOUT_S = 100, 60.0


@dataclass(frozen=True)
class ChosenMixing:
    """`ndcg` and `mrr` by beta: means over `sessions` sessions. `low`, `high`: of the difference in NDCG to beta 0."""

    beta: float
    sessions: int
    ndcg: Mapping[float, float]
    mrr: Mapping[float, float]
    intervals: Mapping[float, tuple[float, float]]
    alpha: float = ALPHA

    def document(self) -> dict[str, object]:
        rows = [
            {
                "beta": beta, "ndcg@10": self.ndcg[beta], "mrr": self.mrr[beta],
                "ndcg@10 minus that of 0, 95 %": list(self.intervals[beta]),
            }
            for beta in self.ndcg
        ]  # fmt: skip
        return {"alpha": self.alpha, "beta": self.beta, "sessions": self.sessions, "rows": rows}


def sessions_of(searches: Sequence[SearchedList], last: Sequence[SearchedList]) -> list[list[SearchedList]]:
    """The newest sessions of two or more different queries that end with a click on a result of one of `last`."""
    of_session = defaultdict[str, list[SearchedList]](list)
    for each in sorted(searches, key=lambda each: each.at_s):
        if each.session_id:
            of_session[each.session_id].append(each)
    ends = {id(each) for each in last}
    found = [
        own[-_MOST_SEARCHES:]
        for own in of_session.values()
        if own[-1].is_clicked and id(own[-1]) in ends and len({normalised(each.query) for each in own}) > 1
    ]
    return sorted(found, key=lambda own: own[-1].at_s)[-MOST_SESSIONS:]


def choose_mixing(
    catalogue: SearchedCatalogue,
    search: TrainedSearch,
    sessions: Sequence[Sequence[SearchedList]],
    seed: int = 0,
    betas: Sequence[float] = BETAS,
) -> ChosenMixing:
    """The beta with the highest NDCG@10, if it is better than the first one, 0, with 95 % confidence, else 0."""
    if len(sessions) < LEAST_SESSIONS:
        return ChosenMixing(QueryEncoderSettings().beta, len(sessions), {}, {}, {})
    ranks = {beta: _ranks(catalogue, search, sessions, beta) for beta in betas}
    gains = {beta: np.where(of <= NDCG_DEPTH, 1 / np.log2(of + 1), 0.0) for beta, of in ranks.items()}
    intervals = {beta: mean_interval(of - gains[betas[0]], seed) for beta, of in gains.items()}
    best = max(betas, key=lambda beta: (gains[beta].mean(), -beta))
    return ChosenMixing(
        best if intervals[best][0] > 0 else betas[0],
        len(sessions),
        {beta: round(float(of.mean()), 4) for beta, of in gains.items()},
        {beta: round(float((1 / of).mean()), 4) for beta, of in ranks.items()},
        intervals,
    )


def _ranks(
    catalogue: SearchedCatalogue, search: TrainedSearch, sessions: Sequence[Sequence[SearchedList]], beta: float
) -> npt.NDArray[np.float64]:
    """[sessions]: the place of the clicked product that stands first; infinite if none is among the first 100."""
    ranks = []
    with (
        catalogue.served(search, alpha=ALPHA, beta=beta) as suite,
        grpc.insecure_channel(suite.gateway_target) as channel,
    ):
        stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        for number, session in enumerate(sessions):
            name = f"mixing-{beta}-{number}"
            for at, each in enumerate(session):
                request = gateway_pb2.SearchRequest(
                    query=each.query, visitor_id=name, session_id=name, page_size=_SHOWN
                )
                ids = [result.product.id for result in stub.Search(request, timeout=_TIMEOUT_S).results]
                clicked = [id for id, stage in zip(each.item_ids, each.reached, strict=True) if stage]
                if at + 1 == len(session):
                    ranks.append(min((ids.index(id) + 1.0 for id in clicked if id in ids), default=np.inf))
                elif clicked:
                    events = [
                        event_pb2.Event(
                            event_id=f"{name}-{at}-{id}", visitor_id=name, session_id=name, item_id=id,
                            type=event_pb2.EVENT_TYPE_CLICK,
                        )
                        for id in clicked
                    ]  # fmt: skip
                    stub.RecordEvents(gateway_pb2.RecordEventsRequest(events=events), timeout=_TIMEOUT_S)
    return np.array(ranks)
