"""Each stage gets its share of a request's time, and never the time that is reserved for a later one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.gateway.domain.budget import RequestBudget, Stage, StageShare

SHARES = {
    Stage.QUERY_ENCODER: StageShare(cap=0.35, keep=0.0),
    Stage.RETRIEVAL: StageShare(cap=0.6, keep=0.2),
    Stage.RANKER: StageShare(cap=0.5, keep=0.12),
    Stage.SPONSORED: StageShare(cap=0.1, keep=0.0),
    Stage.PRICING: StageShare(cap=0.4, keep=0.06),
    Stage.ASSISTANT: StageShare(cap=1.0, keep=0.0),
}
# The assistant is alone in its flow.
FLOW = [stage for stage in Stage if stage is not Stage.ASSISTANT]
RESERVE = 0.04

parts = st.floats(0, 1)
all_shares = st.fixed_dictionaries({stage: st.builds(StageShare, cap=parts, keep=parts) for stage in Stage})
stages = st.sampled_from(FLOW)
totals_s = st.floats(0, 10)
# Where a request stands, as a part of its time: before it began, in the middle, long after its end.
moments = st.floats(-0.5, 3)


def after(stage: Stage, usual_s: float = 0.0) -> dict[Stage, float]:
    """The later stages, each with its usual latency."""
    flow: list[Stage] = list(FLOW)
    return dict.fromkeys(flow[flow.index(stage) + 1 :], usual_s)


def budget(total_s: float, received_s: float = 100.0, shares: dict[Stage, StageShare] = SHARES) -> RequestBudget:
    return RequestBudget(received_s, received_s + total_s, shares, RESERVE * total_s)


@given(all_shares, stages, totals_s, moments)
def test_never_more_than_the_cap(shares: dict[Stage, StageShare], stage: Stage, total_s: float, now: float) -> None:
    """No stage gets more than its cap, however much is left."""
    whole = budget(total_s, shares=shares)
    assert whole.timeout_s(stage, after(stage), 100.0 + now * total_s) <= shares[stage].cap * whole.total_s


@given(all_shares, stages, totals_s, moments)
def test_what_later_stages_keep_is_left(
    shares: dict[Stage, StageShare], stage: Stage, total_s: float, now: float
) -> None:
    """A stage that takes all its time leaves what the later ones keep, and the time for the rest."""
    whole, now_s = budget(total_s, shares=shares), 100.0 + now * total_s
    timeout_s = whole.timeout_s(stage, after(stage), now_s)
    if timeout_s > 0:
        kept = sum(shares[other].keep for other in after(stage)) + RESERVE
        assert whole.deadline_s - (now_s + timeout_s) >= kept * whole.total_s - 1e-9


@given(all_shares, stages, totals_s, moments)
def test_never_negative(shares: dict[Stage, StageShare], stage: Stage, total_s: float, now: float) -> None:
    """A timeout is never negative, also after the deadline and where the shares add up to more than the whole."""
    assert budget(total_s, shares=shares).timeout_s(stage, after(stage), 100.0 + now * total_s) >= 0


@given(stages, st.floats(0.001, 10), st.floats(0, 1), st.floats(0, 1))
def test_waiting_gives_nothing(stage: Stage, total_s: float, one: float, other: float) -> None:
    """The later a stage is called, the less time it gets."""
    earlier, later = sorted((one, other))
    whole = budget(total_s)
    assert whole.timeout_s(stage, after(stage), 100.0 + later * total_s) <= whole.timeout_s(
        stage, after(stage), 100.0 + earlier * total_s
    )


@given(st.floats(0.001, 10))
def test_a_flow_of_slow_stages_ends_in_time(total_s: float) -> None:
    """With every stage taking all it is given, each one for which time is kept still gets something, and the reserve is
    left.
    """
    whole, now_s = budget(total_s), 100.0
    for stage in FLOW:
        timeout_s = whole.timeout_s(stage, after(stage), now_s)
        # For ads nothing is kept.
        assert timeout_s > 0 or stage is Stage.SPONSORED
        now_s += timeout_s
    assert whole.deadline_s - now_s >= RESERVE * whole.total_s - 1e-9


def test_the_shares_in_milliseconds() -> None:
    """Of 100 ms the encoder gets its cap; retrieval at 50 ms what the ranker, pricing and the join leave."""
    whole = budget(0.1)
    assert round(whole.timeout_s(Stage.QUERY_ENCODER, after(Stage.QUERY_ENCODER), 100.0), 6) == 0.035
    assert round(whole.timeout_s(Stage.RETRIEVAL, after(Stage.RETRIEVAL), 100.05), 6) == 0.028


def test_what_later_stages_need() -> None:
    """Of 20 ms the parts of later stages are less than these take: they keep what they usually take."""
    whole = RequestBudget(0.0, 0.02, SHARES, reserve_s=0.004)
    usual_s = {Stage.RANKER: 0.0036, Stage.PRICING: 0.0016}
    assert round(whole.timeout_s(Stage.RETRIEVAL, usual_s, 0.0), 6) == round(0.02 - 0.004 - 0.0036 - 0.0016, 6)


@given(st.floats(0.001, 10), st.floats(0, 10))
def test_a_slow_stage_keeps_twice_its_part(total_s: float, usual_s: float) -> None:
    """However slow a later stage is, it keeps at most twice its part: the others have their time."""
    whole = budget(total_s)
    remaining_s = whole.timeout_s(Stage.RETRIEVAL, {Stage.RANKER: usual_s}, 100.0)
    assert remaining_s >= min(SHARES[Stage.RETRIEVAL].cap, 1 - RESERVE - 2 * SHARES[Stage.RANKER].keep) * total_s - 1e-9
