"""The eigensolver against numpy's dense one."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd.functional import hessian

from edgewise.dynamics.eigen import Eigenpairs, EigenTracker, top_eigenpairs
from edgewise.errors import EdgewiseError
from edgewise.network.models import build_model, initial_theta
from edgewise.network.objective import Objective
from edgewise.params import ModelParams


def rotation(size: int, seed: int = 0) -> Tensor:
    """A random orthogonal matrix."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))
    return torch.from_numpy(q)


def with_spectrum(values: Tensor, seed: int = 0) -> Tensor:
    """A symmetric matrix with the eigenvalues `values` and random eigenvectors (the columns of `rotation`)."""
    q = rotation(len(values), seed)
    return q @ torch.diag(values.double()) @ q.T


def solve(matrix: Tensor, k: int = 1, **options: object):
    return top_eigenpairs(lambda v: matrix @ v, matrix[0], k, **options)


def assert_matches_dense(pairs, matrix: Tensor, k: int) -> None:
    values, vectors = np.linalg.eigh(matrix.numpy())
    values, vectors = values[::-1][:k], vectors[:, ::-1][:, :k].T
    np.testing.assert_allclose(pairs.values.numpy(), values, rtol=1e-4)
    overlap = np.abs((pairs.vectors.numpy() * vectors).sum(axis=1))
    np.testing.assert_allclose(overlap, 1, atol=1e-4)


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_eigenpairs_match_the_dense_solver(k, seed):
    values = torch.from_numpy(np.random.default_rng(seed).standard_normal(80))
    matrix = with_spectrum(values, seed)
    assert_matches_dense(solve(matrix, k, tolerance=1e-5), matrix, k)


def test_the_default_tolerance_bounds_the_residual_and_the_eigenvalue():
    matrix = with_spectrum(torch.linspace(-1, 3, 100) ** 3)
    pairs = solve(matrix, 2)
    residual = (matrix @ pairs.vectors.T - pairs.vectors.T * pairs.values).norm(dim=0) / pairs.values
    np.testing.assert_allclose(pairs.residuals.numpy(), residual.numpy(), rtol=1e-6, atol=1e-12)
    assert (residual <= 1e-3).all()
    np.testing.assert_allclose(pairs.values.numpy(), np.linalg.eigvalsh(matrix.numpy())[::-1][:2], rtol=1e-3)


def test_the_largest_is_by_value_not_by_modulus():
    values = torch.cat([torch.tensor([-50.0, -20.0, 2.0, 1.5]), torch.linspace(-1, 1, 56)])
    matrix = with_spectrum(values)
    pairs = solve(matrix, 2, tolerance=1e-6)
    assert_matches_dense(pairs, matrix, 2)
    assert pairs.values[0].item() == pytest.approx(2.0, rel=1e-6)


def test_all_eigenvalues_negative_gives_the_one_nearest_zero():
    matrix = with_spectrum(-torch.arange(1.0, 41.0))
    assert solve(matrix, tolerance=1e-6).values[0].item() == pytest.approx(-1.0, rel=1e-6)


def test_nearly_equal_eigenvalues_give_their_invariant_subspace():
    values = torch.cat([torch.tensor([1.0, 1.0 - 1e-6]), torch.linspace(-0.5, 0.6, 58)]).double()
    matrix, wanted = with_spectrum(values), rotation(60)[:, :2]
    pairs = solve(matrix, 2, tolerance=1e-6)
    np.testing.assert_allclose(pairs.values.numpy(), [1.0, 1.0 - 1e-6], atol=1e-9)
    projector = pairs.vectors.T @ pairs.vectors
    np.testing.assert_allclose(projector.numpy(), (wanted @ wanted.T).numpy(), atol=1e-4)


def test_equal_eigenvalues_are_found_with_their_multiplicity():
    matrix = with_spectrum(torch.cat([torch.ones(3), torch.linspace(-0.5, 0.5, 47)]))
    pairs = solve(matrix, 4, tolerance=1e-6)
    np.testing.assert_allclose(pairs.values.numpy(), [1, 1, 1, 0.5], rtol=1e-6)


def test_one_of_a_nearly_equal_pair_lies_in_their_subspace():
    values = torch.cat([torch.tensor([1.0, 1.0 - 1e-6]), torch.linspace(-0.5, 0.6, 58)]).double()
    pairs = solve(with_spectrum(values), 1, tolerance=1e-6)
    assert (pairs.vectors @ rotation(60)[:, :2]).norm().item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("k", [1, 4])
def test_matrices_smaller_than_the_basis_are_solved_exactly(size, k):
    matrix = with_spectrum(torch.arange(1.0, size + 1))
    pairs = solve(matrix, k, tolerance=1e-12)
    expected = np.arange(size, 0, -1)[:k]
    np.testing.assert_allclose(pairs.values.numpy(), expected, rtol=1e-12)
    gram = pairs.vectors @ pairs.vectors.T
    np.testing.assert_allclose(gram.numpy(), np.eye(min(k, size)), atol=1e-12)
    assert pairs.products <= size


def test_the_zero_matrix_has_eigenvalue_zero():
    pairs = solve(torch.zeros(30, 30, dtype=torch.float64))
    assert pairs.values.tolist() == [0.0]
    assert pairs.vectors.norm().item() == pytest.approx(1)


def test_restarts_beyond_the_basis_limit_still_converge():
    values = torch.cat([torch.tensor([1.0]), torch.linspace(0.0, 0.99, 299)])
    matrix = with_spectrum(values)
    pairs = solve(matrix, tolerance=1e-6)
    assert pairs.products > 20  # more than the basis holds
    assert_matches_dense(pairs, matrix, 1)


def test_products_are_counted():
    matrix = with_spectrum(torch.linspace(-1, 1, 50) ** 3)
    calls = []

    def product(v: Tensor) -> Tensor:
        calls.append(1)
        return matrix @ v

    assert top_eigenpairs(product, matrix[0]).products == len(calls)


def test_a_warm_start_costs_fewer_products_and_gives_the_same_answer():
    values = torch.cat([torch.tensor([3.0, 2.0]), torch.linspace(-1, 1.5, 198)])
    matrix = with_spectrum(values)
    noise = with_spectrum(torch.linspace(-1, 1, 200), seed=9)
    moved = matrix + 0.005 * noise
    subspace = solve(matrix).subspace
    cold, warm = solve(moved), solve(moved, start=subspace)
    assert warm.products < cold.products
    assert warm.values[0].item() == pytest.approx(np.linalg.eigvalsh(moved.numpy())[-1], rel=1e-4)


def test_an_overtaking_eigenvalue_is_followed_by_warm_starts():
    size, subspace = 120, None
    bulk = torch.linspace(-0.5, 0.3, size - 2).double()
    for s in np.linspace(0, 1, 21):
        falling, rising = 2.0 - s, 1.0 + s + 0.01
        matrix = with_spectrum(torch.cat([torch.tensor([falling, rising]).double(), bulk]))
        pairs = solve(matrix, start=subspace)
        subspace = pairs.subspace
        assert pairs.values[0].item() == pytest.approx(max(falling, rising), rel=1e-4)
        if abs(falling - rising) > 0.1:
            winner = rotation(size)[:, 0 if falling > rising else 1]
            assert abs(pairs.vectors[0] @ winner).item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("k", [1, 3, 10])
@pytest.mark.parametrize("seed", [0, 1])
def test_crossings_out_of_a_dense_bulk_are_followed(k, seed):
    # The eigenvectors stand still, so a solve that looks at the wanted pairs alone is content with those that it has.
    subspace, q = None, rotation(200, seed)
    bulk = torch.linspace(-0.5, 0.9, 196).double()
    for s in np.linspace(0, 1, 21):
        moving = torch.tensor([2 - s, 1.01 + s, 0.95 + 0.6 * s, 1.7 - 0.6 * s], dtype=torch.float64)
        values = torch.cat([moving, bulk])
        pairs = solve(q @ torch.diag(values) @ q.T, k, start=subspace)
        subspace = pairs.subspace
        np.testing.assert_allclose(pairs.values.numpy(), values.sort(descending=True).values[:k].numpy(), rtol=1e-4)


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-3), (torch.float64, 1e-8), (torch.float32, 1e-3), (torch.float32, 1e-4), (torch.float32, 1e-6)],
)
def test_eigenvalues_of_zero_among_the_wanted_ones_are_found(dtype, tolerance):
    matrix = with_spectrum(torch.cat([torch.tensor([3.0, 1.0]), torch.zeros(58)])).to(dtype)
    pairs = solve(matrix, 4, tolerance=tolerance)
    np.testing.assert_allclose(pairs.values.numpy(), [3, 1, 0, 0], atol=1e-6)
    assert pairs.products < 30


def test_a_start_of_the_wrong_rank_is_mended():
    matrix = with_spectrum(torch.linspace(-1, 1, 50) ** 3)
    repeated = torch.ones(3, 50, dtype=torch.float64)
    assert_matches_dense(solve(matrix, start=repeated, tolerance=1e-6), matrix, 1)
    assert_matches_dense(solve(matrix, start=torch.zeros_like(repeated), tolerance=1e-6), matrix, 1)


def test_no_convergence_is_an_error_that_names_the_tolerance():
    matrix = with_spectrum(torch.linspace(0, 1, 400))
    said = r"^tolerance \(hessian\.tolerance\): was 1e-10; after \d+ Hessian-vector products"
    with pytest.raises(EdgewiseError, match=said):
        solve(matrix, tolerance=1e-10, max_products=12)


def test_an_operator_that_is_not_finite_is_a_clear_error():
    with pytest.raises(EdgewiseError, match="not finite"):
        top_eigenpairs(lambda v: v * torch.nan, torch.zeros(50, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("large", [0.6, math.inf, math.nan], ids=["overflow of the norm", "inf", "nan"])
@pytest.mark.parametrize("which", [1, 2, 5])
def test_one_product_that_overflows_is_one_too(dtype, large, which):
    matrix = with_spectrum(torch.linspace(-1, 1, 50) ** 3).to(dtype)
    calls = itertools.count(1)

    def product(v: Tensor) -> Tensor:
        image = matrix @ v
        if next(calls) == which:
            image[3] = large * torch.finfo(dtype).max
        return image

    with pytest.raises(EdgewiseError, match="not finite"):
        top_eigenpairs(product, matrix[0], tolerance=1e-6)


def true_residuals(pairs: Eigenpairs, matrix: Tensor) -> np.ndarray:
    vectors, values = pairs.vectors.double(), pairs.values.double()
    return ((vectors @ matrix.double() - values[:, None] * vectors).norm(dim=1) / values.abs()).numpy()


@pytest.mark.parametrize("spacing", [1e-7, 3e-7, 1e-6])
def test_eigenvalues_that_nearly_agree_are_found_to_a_small_tolerance(spacing):
    values = torch.cat([1 + spacing * torch.arange(12), torch.linspace(-1, 0.5, 12)]).double()
    matrix = with_spectrum(values)
    pairs = solve(matrix, 5, tolerance=1e-8)
    assert (true_residuals(pairs, matrix) <= 2e-8).all()
    np.testing.assert_allclose(pairs.values.numpy(), values.sort(descending=True).values[:5].numpy(), rtol=1e-12)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-5, 1e-6])
@pytest.mark.parametrize("k", [1, 4])
def test_the_residual_is_that_of_the_vectors_in_single_precision_and_after_restarts(tolerance, k):
    matrix = with_spectrum(torch.cat([torch.linspace(1, 1.02, 4), torch.linspace(-0.5, 0.99, 396)]))
    pairs = solve(matrix.float(), k, tolerance=tolerance)
    assert pairs.products > 20 + 3 * k  # more than the basis holds
    np.testing.assert_allclose(pairs.residuals.numpy(), true_residuals(pairs, matrix), rtol=0.02, atol=5e-7)
    gram = pairs.subspace @ pairs.subspace.T
    np.testing.assert_allclose(gram.numpy(), np.eye(len(gram)), atol=2e-6)


def test_a_residual_below_rounding_is_not_reported():
    matrix = with_spectrum(torch.linspace(-30, 60, 60)).float()
    with pytest.raises(EdgewiseError, match="use float64"):
        solve(matrix, tolerance=1e-8)


def test_two_solves_of_the_same_operator_are_bitwise_equal():
    matrix = with_spectrum(torch.linspace(-1, 1, 50) ** 3)
    assert torch.equal(solve(matrix).vectors, solve(matrix).vectors)


def test_single_precision_reaches_the_default_tolerance():
    matrix = with_spectrum(torch.linspace(-30, 60, 300)).float()
    pairs = solve(matrix)
    assert pairs.values[0].item() == pytest.approx(60, rel=1e-4)


def test_the_tracker_gives_the_dense_hessians_eigenpairs_along_a_path():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, 1, 2, 3, generator=generator, dtype=torch.float64)
    y = torch.arange(12) % 2
    model = build_model(ModelParams(width=5, activation="tanh"), (1, 2, 3))
    objective = Objective(model, "mse", x, y, chunk_size=5)
    whole = Objective(model, "mse", x, y, chunk_size=100)
    tracker = EigenTracker(objective, 2, tolerance=1e-6)
    theta, products = initial_theta(model, 1.0, seed=0), []
    for _ in range(5):
        dense = hessian(lambda at: whole.example_losses(whole.outputs(at, x), y).mean(), theta)
        pairs = tracker.measure(theta)
        assert_matches_dense(pairs, dense, 2)
        products.append(pairs.products)
        theta = theta - 0.005 * objective.evaluate(theta).gradient
    assert max(products[1:]) < products[0]
