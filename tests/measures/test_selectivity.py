"""Alignment, influence and the comparison of states on cases with a known answer."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

from edgewise.measures.selectivity import (
    alignment,
    compare_states,
    curvature_influence,
    measure_examples,
    measure_groups,
    permutation_null,
    rank_correlation,
    sharpness_coupling,
)
from edgewise.network.objective import Objective
from edgewise.states.optimizers import State


@given(seed=st.integers(0, 10_000), size=st.integers(1, 20))
def test_alignment_is_the_squared_cosine(seed, size):
    rng = np.random.default_rng(seed)
    g, v = rng.standard_normal(size), rng.standard_normal(size)
    v /= np.linalg.norm(v)
    value = alignment(torch.from_numpy(g), torch.from_numpy(v))
    assert 0 <= value <= 1 + 1e-12
    assert value == pytest.approx((g @ v / np.linalg.norm(g)) ** 2)
    assert value == pytest.approx(alignment(torch.from_numpy(-7 * g), torch.from_numpy(-v)))
    assert curvature_influence(torch.from_numpy(g), torch.from_numpy(v)) == pytest.approx((g @ v) ** 2)


def test_alignments_with_an_orthonormal_basis_sum_to_one(rng):
    basis = torch.from_numpy(np.linalg.qr(rng.standard_normal((9, 9)))[0])
    g = torch.from_numpy(rng.standard_normal(9))
    assert sum(alignment(g, v) for v in basis) == pytest.approx(1)
    assert sum(curvature_influence(g, v) for v in basis) == pytest.approx((g @ g).item())


def test_alignment_is_one_along_v_zero_across_it_and_zero_for_no_gradient():
    v = torch.tensor([1.0, 0.0])
    assert alignment(torch.tensor([-3.0, 0.0]), v) == 1
    assert alignment(torch.tensor([0.0, 5.0]), v) == 0
    assert alignment(torch.zeros(2), v) == 0
    assert curvature_influence(torch.tensor([-3.0, 4.0]), v) == 9


@pytest.mark.parametrize("k", [1, 3])
def test_groups_are_measured_with_the_gradient_of_their_own_mean_loss(rng, k):
    x = torch.from_numpy(rng.standard_normal((6, 3)))
    y = torch.tensor([0, 1, 0, 1, 1, 0])
    whole = Objective(nn.Linear(3, 2, bias=False), "mse", x, y, chunk_size=2)
    theta = torch.from_numpy(rng.standard_normal(6))
    vectors = torch.from_numpy(np.linalg.qr(rng.standard_normal((6, k)))[0].T)
    v, slope = vectors[0], torch.from_numpy(rng.standard_normal(6))
    groups = {"first": [0, 1], "rest": [2, 3, 4, 5]}
    objectives = {name: whole.subset(torch.tensor(index)) for name, index in groups.items()}
    measured = measure_groups(objectives, theta, vectors, slope)
    for name, index in groups.items():
        outputs, label = x[index] @ theta.view(2, 3).T, y[index]
        error = outputs - torch.eye(2, dtype=x.dtype)[label]
        gradient = (2 / len(index) * error.T @ x[index]).reshape(-1).numpy()  # of the mean of |W x - e_y|^2
        influence = (gradient @ v.numpy()) ** 2
        assert measured[f"curvature_influence_{name}"] == pytest.approx(influence)
        assert measured[f"alignment_{name}"] == pytest.approx(influence / (gradient @ gradient))
        assert measured[f"gradient_norm_{name}"] == pytest.approx(np.linalg.norm(gradient))
        assert measured[f"sharpness_coupling_{name}"] == pytest.approx((gradient @ slope.numpy()) ** 2)
        of_label = np.clip(outputs.numpy()[range(len(index)), label], 0, 1)
        assert measured[f"label_probability_{name}"] == pytest.approx(of_label.mean())
        if k > 1:
            span = ((vectors.numpy() @ gradient) ** 2).sum()
            assert measured[f"subspace_influence_{name}"] == pytest.approx(span)
            assert measured[f"subspace_alignment_{name}"] == pytest.approx(span / (gradient @ gradient))
    assert len(measured) == len(groups) * (5 if k == 1 else 7)


def test_sharpness_coupling_is_the_squared_product_of_the_gradients():
    gradient, slope = torch.tensor([1.0, -2.0, 3.0]), torch.tensor([2.0, 2.0, 2.0])
    assert sharpness_coupling(gradient, slope) == pytest.approx(16)
    assert sharpness_coupling(-gradient, slope) == pytest.approx(16)
    assert sharpness_coupling(gradient, torch.tensor([2.0, 1.0, 0.0])) == 0


@pytest.fixture
def network(rng) -> tuple[Objective, Tensor, Tensor]:
    """A small network on 12 examples, theta and a unit vector; the fourth example has no gradient."""
    x = torch.from_numpy(rng.standard_normal((12, 3)))
    x[3] = 0
    model = nn.Sequential(nn.Flatten(), nn.Linear(3, 5, bias=False), nn.ReLU(), nn.Linear(5, 2, bias=False))
    objective = Objective(model, "mse", x, torch.arange(12) % 2, chunk_size=5)
    theta, v = torch.from_numpy(rng.standard_normal((2, objective.num_params)))
    return objective, theta, v / v.norm()


def test_examples_are_measured_with_their_own_gradients_and_no_gradient_is_no_alignment(network):
    objective, theta, v = network
    influence, aligned = measure_examples(objective, theta, v)
    for i in range(len(objective)):
        gradient = objective.subset(torch.tensor([i])).gradient(theta)
        assert influence[i] == pytest.approx(curvature_influence(gradient, v), rel=1e-9)
        assert aligned[i] == pytest.approx(alignment(gradient, v), rel=1e-9)
    assert influence[3] == aligned[3] == 0
    assert ((aligned >= 0) & (aligned <= 1)).all()
    assert (np.delete(aligned, 3) > 0).all()


def test_alignments_of_examples_with_an_orthonormal_basis_sum_to_one(network, rng):
    objective, theta, _ = network
    basis = torch.from_numpy(np.linalg.qr(rng.standard_normal((len(theta), len(theta))))[0])
    total = sum(measure_examples(objective, theta, v)[1] for v in basis)
    np.testing.assert_allclose(total, [0 if i == 3 else 1 for i in range(12)])


def test_the_null_of_groups_of_all_examples_is_the_whole_gradient(network):
    objective, theta, v = network
    gradient = objective.gradient(theta)
    alignments, influences = permutation_null(objective, theta, v, size=12, draws=5, seed=1)
    np.testing.assert_allclose(alignments, alignment(gradient, v))
    np.testing.assert_allclose(influences, curvature_influence(gradient, v))


def test_the_null_of_single_examples_is_made_of_single_examples(network):
    objective, theta, v = network
    influence, aligned = measure_examples(objective, theta, v)
    alignments, influences = permutation_null(objective, theta, v, size=1, draws=300, seed=1)
    for drawn, single in ((alignments, aligned), (influences, influence)):
        distance = np.abs(drawn[:, None] - single[None])
        assert distance.min(axis=1).max() < 1e-12
        assert set(distance.argmin(axis=1)) == set(range(12))  # every example is drawn
        assert drawn.mean() == pytest.approx(single.mean(), abs=4 * single.std() / np.sqrt(300))


def test_the_null_has_the_mean_that_sampling_without_replacement_gives_it(network):
    """E (mean of m of n)^2 = mean^2 + (variance / m) (n - m) / (n - 1), for the projections."""
    objective, theta, v = network
    projections = objective.projections(theta, v).numpy()
    _, influences = permutation_null(objective, theta, v, size=4, draws=2000, seed=0)
    expected = projections.mean() ** 2 + projections.var() / 4 * 8 / 11
    assert influences.mean() == pytest.approx(expected, abs=4 * influences.std() / np.sqrt(2000))


def test_the_null_is_the_same_for_the_same_seed_and_has_as_many_draws_as_asked_for(network):
    first, again, other = (permutation_null(*network, size=4, draws=30, seed=seed) for seed in (7, 7, 8))
    for side in (0, 1):
        assert first[side].shape == (30,)
        np.testing.assert_array_equal(first[side], again[side])
        assert not np.array_equal(first[side], other[side])


@pytest.fixture
def states(network) -> tuple[dict[str, Objective], State]:
    objective, theta, v = network
    groups = {"first": torch.arange(6), "second": torch.arange(6, 12), "without gradient": torch.tensor([3])}
    return {name: objective.subset(members) for name, members in groups.items()}, State(theta, 5, 0.5, {"m": v})


def test_equal_states_do_not_differ_at_all(states):
    objectives, state = states
    copy = State(state.theta.clone(), 5, 0.5, {name: vector.clone() for name, vector in state.buffers.items()})
    found = compare_states(objectives, state, copy)
    assert found == {"parameters": 0, "gradient_norms": 0, "gradient_directions": 0}


def test_a_change_of_one_parameter_shows_in_all_that_is_compared(states):
    objectives, state = states
    theta = state.theta.clone()
    theta[4] += 1e-3
    changed = replace(state, theta=theta)
    for pair in ((state, changed), (changed, state)):
        found = compare_states(objectives, *pair)
        assert found["parameters"] == pytest.approx(1e-3)
        norms, directions = [], []
        for objective in objectives.values():
            one, other = (objective.gradient(side.theta).numpy() for side in pair)
            lengths = np.linalg.norm(one), np.linalg.norm(other)
            if lengths[0] > 0:
                norms.append(abs(lengths[0] - lengths[1]) / lengths[0])
                directions.append(1 - one @ other / lengths[0] / lengths[1])
        assert found["gradient_norms"] == pytest.approx(max(norms))
        assert found["gradient_directions"] == pytest.approx(max(directions), rel=1e-6)
        assert min(found.values()) > 1e-9


@pytest.mark.parametrize("value", [0.25, float("nan"), float("inf")])
def test_a_change_of_a_vector_of_the_optimiser_is_found(states, value):
    objectives, state = states
    buffer = state.buffers["m"].clone()
    buffer[2] = buffer[2] + value
    for pair in ((state, replace(state, buffers={"m": buffer})), (replace(state, buffers={"m": buffer}), state)):
        found = compare_states(objectives, *pair)["parameters"]
        assert found == pytest.approx(value, nan_ok=True)


def test_a_vector_that_only_one_state_has_is_found_and_zero_is_as_good_as_none(states):
    objectives, state = states
    without, zero = replace(state, buffers={}), replace(state, buffers={"m": torch.zeros_like(state.theta)})
    largest = state.buffers["m"].abs().max().item()
    assert compare_states(objectives, state, without)["parameters"] == pytest.approx(largest)
    assert compare_states(objectives, without, state)["parameters"] == pytest.approx(largest)
    assert compare_states(objectives, without, zero)["parameters"] == 0


def test_a_group_whose_gradient_is_not_a_number_does_not_pass_for_equal(states):
    objectives, state = states
    last = objectives["second"]
    broken = {**objectives, "broken": last.with_inputs(last.x * float("nan"))}
    found = compare_states(broken, state, state)
    assert np.isnan([found["gradient_norms"], found["gradient_directions"]]).all()


@pytest.mark.parametrize("ties", [False, True])
def test_the_rank_correlation_is_scipys_with_fishers_interval(rng, ties):
    x = rng.standard_normal(60)
    y = x + rng.standard_normal(60)
    if ties:
        x, y = x.round(), y.round()
    estimate, low, high = rank_correlation(x, y)
    assert estimate == pytest.approx(stats.spearmanr(x, y).statistic)
    half = stats.norm.ppf(0.975) / np.sqrt(60 - 3)
    assert (low, high) == pytest.approx((np.tanh(np.arctanh(estimate) - half), np.tanh(np.arctanh(estimate) + half)))
    assert rank_correlation(-x, y) == pytest.approx((-estimate, -high, -low))
    assert rank_correlation(np.exp(x), y**3) == pytest.approx((estimate, low, high))  # the ranks alone count


@pytest.mark.parametrize("slope", [0.0, 0.5, -0.5])
def test_the_interval_of_the_rank_correlation_covers_the_truth_about_as_often_as_it_says(rng, slope):
    """For a normal pair with correlation r, Spearman's is 6 / pi asin(r / 2)."""
    truth = 6 / np.pi * np.arcsin(slope / 2)
    covered = 0
    for _ in range(1000):
        x, noise = rng.standard_normal((2, 60))
        _, low, high = rank_correlation(x, slope * x + np.sqrt(1 - slope**2) * noise)
        covered += low <= truth <= high
    # Ranks vary a little more than Fisher's 1 / (n - 3): by 1 + r^2 / 2 (Bonett & Wright 2000).
    expected = 2 * stats.norm.cdf(stats.norm.ppf(0.975) / np.sqrt(1 + truth**2 / 2)) - 1
    assert covered / 1000 == pytest.approx(expected, abs=3 * np.sqrt(0.05 * 0.95 / 1000))


def test_a_perfect_rank_correlation_is_certain():
    x = np.arange(6.0)
    for sign in (1, -1):
        assert rank_correlation(x, sign * x**3) == pytest.approx((sign, sign, sign))


@pytest.mark.filterwarnings("error")
def test_a_rank_correlation_that_is_not_defined_has_no_interval():
    for x, y in ((np.ones(5), np.arange(5.0)), (np.arange(5.0), np.ones(5)), (np.ones(1), np.ones(1))):
        assert np.isnan(rank_correlation(x, y)).all()
    assert np.isnan(rank_correlation(np.arange(5.0), np.array([1.0, np.nan, 2.0, 3.0, 4.0]))).all()
