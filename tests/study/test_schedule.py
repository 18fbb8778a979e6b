"""The schedule that `edgewise repro` follows, against bounds that every schedule keeps and hand-made cases."""

import random

import pytest

from edgewise.study.schedule import makespan, urgency

CHAIN = {"a": [], "b": ["a"], "c": ["b"]}


def random_pipeline(seed: int) -> tuple[dict[str, list[str]], dict[str, float]]:
    draw = random.Random(seed)
    names = [f"stage-{number}" for number in range(12)]
    needs = {name: draw.sample(names[:i], min(i, draw.randrange(3))) for i, name in enumerate(names)}
    return needs, {name: draw.uniform(1, 10) for name in names}


def test_a_chain_takes_the_sum_however_many_jobs():
    assert [makespan(CHAIN, {"a": 1, "b": 2, "c": 3}, jobs) for jobs in (1, 2, 9)] == [6, 6, 6]


def test_independent_stages_are_dealt_longest_first():
    needs = {name: [] for name in "abcde"}
    assert makespan(needs, dict(zip("abcde", (1, 1, 1, 1, 4), strict=True)), jobs=2) == 4


@pytest.mark.parametrize("seed", range(20))
def test_it_takes_at_least_the_longest_chain_and_at_most_one_after_the_other(seed):
    needs, seconds = random_pipeline(seed)
    chain, work = max(urgency(needs, seconds).values()), sum(seconds.values())
    assert makespan(needs, seconds, 1) == pytest.approx(work)
    assert makespan(needs, seconds, len(needs)) == pytest.approx(chain)
    for jobs in (2, 3):
        # Graham (1969): no schedule that leaves no worker idle is longer.
        assert max(chain, work / jobs) <= makespan(needs, seconds, jobs) + 1e-9
        assert makespan(needs, seconds, jobs) <= work / jobs + (1 - 1 / jobs) * chain + 1e-9


def test_nothing_takes_no_time():
    assert makespan({}, {}, 2) == 0
