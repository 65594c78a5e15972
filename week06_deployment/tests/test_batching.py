"""The batcher answers everyone once, in batches of no more than the largest; its waits do what the lecture says.

Time is virtual: a sleep moves the clock, and nothing else does.
"""

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effdl import load
from week06_deployment import batching, queueing

START, EACH, MOST = 0.04, 0.003, 16  # as in the lecture


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in which waiting takes no time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        really = self._selector.select

        def select(timeout=None):
            self.now += timeout or 0.0
            return really(0)

        self._selector.select = select

    def time(self) -> float:
        return self.now


def run(times, wait: batching.Wait, most: int = MOST, fail: bool = False):
    """Latency of each request that comes at one of the times, what it was answered, and the sizes of batches."""
    loop = VirtualLoop()
    clock = batching.time
    batching.time = SimpleNamespace(perf_counter=loop.time)  # type: ignore[assignment]

    async def model(items):
        await asyncio.sleep(START + EACH * len(items))
        if fail:
            raise RuntimeError("the model broke")
        return [-item for item in items]

    async def main():
        batcher = batching.Batcher(model, most, wait)
        serving = asyncio.ensure_future(batcher.serve())

        async def ask(number, at):
            await asyncio.sleep(at)
            try:
                answer = await batcher.ask(number)
            except RuntimeError as error:
                answer = error
            return loop.time() - at, answer

        found = await asyncio.gather(*(ask(number, at) for number, at in enumerate(times)))
        serving.cancel()
        return [latency for latency, _ in found], [answer for _, answer in found], batcher.sizes

    try:
        return loop.run_until_complete(main())
    finally:
        batching.time = clock
        loop.close()


WAITS = st.sampled_from([0.0, 0.01, 0.3, None])


def policy(seconds):
    return batching.Adaptive() if seconds is None else batching.Fixed(seconds)


@given(st.lists(st.floats(0, 2), min_size=1, max_size=60).map(sorted), WAITS, st.integers(1, 8))
@settings(deadline=None, max_examples=60)
def test_everyone_is_answered_once_with_its_own_answer_in_batches_no_larger_than_allowed(times, wait, most):
    _, answers, sizes = run(times, policy(wait), most)
    assert answers == [-number for number in range(len(times))]
    assert sum(sizes) == len(times)
    assert max(sizes) <= most


def test_a_model_that_breaks_breaks_its_batch_and_not_the_batcher():
    _, answers, _ = run([0.0, 0.0, 1.0], policy(0), fail=True)
    assert [str(answer) for answer in answers] == ["the model broke"] * 3


def test_a_batch_of_none_is_refused():
    with pytest.raises(ValueError, match="not 0"):
        batching.Batcher(None, 0, policy(0))  # type: ignore[arg-type]


def test_without_a_wait_a_single_request_is_not_delayed_and_with_one_it_is():
    assert run([0.0], policy(0))[0] == [pytest.approx(START + EACH)]
    assert run([0.0], policy(0.02))[0] == [pytest.approx(0.02 + START + EACH)]


def test_a_full_batch_does_not_wait():
    latencies, _, sizes = run([0.0] * 4, policy(5.0), most=4)
    assert sizes == [4]
    assert latencies == [pytest.approx(START + 4 * EACH)] * 4


def test_the_wait_counts_from_the_arrival_so_that_a_busy_model_uses_it_up():
    latencies, _, sizes = run([0.0, 0.035, 0.07], batching.Fixed(0.03))
    assert sizes == [1, 2]
    free = 0.03 + START + EACH  # the second one has waited longer than 30 ms by then, and goes at once
    assert latencies[1] == pytest.approx(free + START + 2 * EACH - 0.035)


def test_an_adaptive_wait_learns_groups_and_forgets_them():
    groups = np.sort((0.5 * np.arange(20)[:, None] + 0.002 * np.arange(8)).ravel())
    _, _, sizes = run(groups, batching.Adaptive())
    assert sizes[:2] == [1, 7]  # it knows nothing yet
    assert set(sizes[-10:]) == {8}
    wait = batching.Adaptive()
    run(np.concatenate([groups, 12 + np.arange(30)]), wait)
    assert wait.patience(1, 0.0) == 0.0


def test_the_adaptive_wait_is_near_the_best_fixed_one_under_each_load_and_no_fixed_one_is():
    loads = {
        "few": load.schedule(5, 60, seed=1),
        "groups": queueing.bursts(16, 8, 0.002, 60, seed=1),
        "many": load.schedule(90, 60, seed=2),
    }
    fixed = (0.0, 0.01, 0.02, 0.04)
    means = {
        name: {wait: float(np.mean(run(times, policy(wait))[0])) for wait in (*fixed, None)}
        for name, times in loads.items()
    }
    best = {name: min(bars[wait] for wait in fixed) for name, bars in means.items()}
    assert max(means[name][None] / best[name] for name in loads) < 1.05
    assert min(max(means[name][wait] / means[name][None] for name in loads) for wait in fixed) > 1.08
