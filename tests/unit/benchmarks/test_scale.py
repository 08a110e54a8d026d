"""The simulated suite scales as Ray Serve's policy says, and loses no request."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.scale_model import POOLS, Pool, Scaling, Suite, scalings_of
from benchmarks.sizing import QUANTIZED_BYTES, size_of
from deploy.checks.build import built

CHEAP = dict.fromkeys(POOLS, 1.0)
SCALINGS = dict.fromkeys(POOLS, Scaling(2, 16))


def busy(pool: Pool, ongoing: int) -> None:
    for replica in pool.replicas:
        replica.ongoing = ongoing


def test_more_replicas_come_after_the_delay() -> None:
    """Three times the target asks for three times the replicas, once it has held for the delay, and no sooner."""
    pool = Pool("ranker", Scaling(1, 8, 4, upscale_delay_s=10, look_back_s=1, push_s=1), 0.002, 30)
    busy(pool, 12)
    assert [pool.decide(float(second)) for second in range(10)] == [1] * 10
    assert pool.decide(10.0) == 3


def test_fewer_replicas_after_a_longer_delay() -> None:
    """A quiet pool keeps its replicas for the downscale delay; a busy moment in between starts it anew."""
    pool = Pool(
        "ranker", Scaling(1, 8, 4, upscale_delay_s=10, downscale_delay_s=30, look_back_s=1, push_s=1), 0.002, 30
    )
    pool.wanted = 4
    assert {pool.decide(float(second)) for second in range(20)} == {4}
    busy(pool, 16)
    pool.decide(20.0)
    busy(pool, 0)
    assert {pool.decide(float(second)) for second in range(21, 51)} == {4}
    assert pool.decide(51.0) == 1


def test_every_request_is_accounted_for() -> None:
    """What arrives is answered, refused, or still on its way at the end; and work takes the time that it costs."""
    suite = Suite(lambda _: 50.0, CHEAP, SCALINGS)
    suite.run(30.0)
    arrivals = sum(window.arrivals for window in suite.windows)
    answered = sum(len(window.latencies_s) for window in suite.windows)
    assert 1_200 < arrivals < 1_800
    assert 0 <= arrivals - answered < 10
    assert sum(window.degraded for window in suite.windows) == 0
    assert abs(suite.pools["ranker"].busy_s / arrivals - 0.001) < 0.0001


def test_too_few_replicas_degrade_and_more_mend_it() -> None:
    """More work than one core has: fixed, answers go without the ranker; autoscaled, they have it again."""
    costs = CHEAP | {"ranker": 12.0}
    scalings = SCALINGS | {"ranker": Scaling(1, 8, 3, upscale_delay_s=3, look_back_s=5)}

    def degraded_at_the_end(ranker: Scaling) -> float:
        suite = Suite(lambda _: 120.0, costs, scalings | {"ranker": ranker}, starting_s=3)
        suite.run(50.0)
        last = suite.windows[-2:]
        return sum(window.degraded for window in last) / sum(window.arrivals for window in last)

    assert degraded_at_the_end(replace(scalings["ranker"], max_replicas=1)) > 0.2
    assert degraded_at_the_end(scalings["ranker"]) < 0.05


def test_the_manifests_are_read() -> None:
    """Autoscaling is that of the overlay's RayServices and of its HorizontalPodAutoscaler, for all services."""
    found = scalings_of(built("production"))
    assert found.keys() == set(POOLS)
    assert found["gateway"].cpu_target == 0.6
    # Pricing has one pod, and four replicas fit in it.
    assert found["pricing"].max_replicas == 4


def test_what_replicas_have_not_told_is_not_known() -> None:
    """Between two reports of the replicas a decision is made by the last one."""
    pool = Pool("ranker", Scaling(1, 8, 4, upscale_delay_s=0, look_back_s=1, push_s=5), 0.002, 30)
    pool.decide(0.0)
    busy(pool, 12)
    assert [pool.decide(float(second)) for second in range(1, 6)] == [1, 1, 1, 1, 3]


def test_the_arithmetic_of_sizes() -> None:
    """Replicas follow from requests and cost, shards and memory from products, and a small shop needs no engine."""
    costs = dict.fromkeys(POOLS, 6.0)
    small, busy_shop, vast = (
        size_of(*numbers, costs, 3.0) for numbers in ((10**5, 10), (10**5, 10**3), (10**9, 10**3))
    )
    assert (small.shards, small.engine_cores, small.replicas["retrieval"]) == (0, 0, 1)
    # 1,000 requests of 6 ms at 60 % of a core each.
    assert busy_shop.replicas["ranker"] == 10
    # Each of 50 shards is asked every time: 1,000 * 50 * 3 ms at 60 %.
    assert (vast.shards, vast.engine_cores) == (50, 250)
    assert vast.gib > 2 * 10**9 * QUANTIZED_BYTES / 2**30
