"""The largest eigenvalues of a symmetric operator, and their eigenvectors, started from the last measurement.

A Rayleigh-Ritz method: keep an orthonormal basis, diagonalise the operator on it, and extend it by the residuals of
the wanted Ritz pairs until they are small. For one pair this is the Lanczos method in other clothes (the residual is
the next Krylov vector), with restarts; a block of pairs also finds eigenvalues that are equal or nearly so.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from edgewise.errors import EdgewiseError
from edgewise.network.objective import Objective

#: Ritz vectors carried along beyond those wanted: when two eigenvalues cross, the one that overtakes is among them.
GUARD = 2


@dataclass(frozen=True)
class Eigenpairs:
    """The k largest eigenvalues (by value, not by modulus).

    Attributes
    ----------
    values : [k], descending
    vectors : [k, P], orthonormal (but see `EigenTracker.measure` for a preconditioned Hessian)
    residuals : [k], |A v - lambda v| / |lambda|
    subspace : [k + GUARD, P], where the next solve starts
    products : operator products spent
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    subspace: Tensor
    products: int


def top_eigenpairs(
    product: Callable[[Tensor], Tensor],
    like: Tensor,
    k: int = 1,
    *,
    tolerance: float = 1e-3,
    start: Tensor | None = None,
    max_products: int = 2000,
) -> Eigenpairs:
    """The k largest eigenpairs of the symmetric operator `product`, to a relative residual of `tolerance`.

    Parameters
    ----------
    product : v [P] -> A v [P]
    like : [P], a tensor of the size, type and device of v
    start : [m, P], the `subspace` of an earlier solve of a similar operator; what is missing is drawn at random, from
        a fixed seed

    Raises
    ------
    EdgewiseError
        If the residual is still above `tolerance` after `max_products` products, or a product is not finite.
    """
    size = len(like)
    wanted, carried = min(k, size), min(k + GUARD, size)
    room = min(size, max(20, 4 * carried))
    generator = torch.Generator().manual_seed(0)

    def random_vector() -> Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64).to(like)

    basis, images = like.new_empty((room, size)), like.new_empty((room, size))
    used = spent = 0

    def extend(vector: Tensor) -> None:
        """Add the part of `vector` that is new to the basis; if nothing is, a random vector's."""
        nonlocal used, spent
        length = vector.norm()
        for _ in range(2):
            vector = vector - (basis[:used] @ vector) @ basis[:used]
        if not vector.norm() > 1e-6 * length:
            extend(random_vector())
            return
        basis[used] = vector / vector.norm()
        images[used] = product(basis[used])
        used, spent = used + 1, spent + 1

    for vector in [] if start is None else start[:carried]:
        extend(vector.to(like))
    while used < carried:
        extend(random_vector())

    while True:
        projected = basis[:used] @ images[:used].T
        if not bool(projected.isfinite().all()):
            raise EdgewiseError("compute.dtype: a Hessian-vector product is not finite: use float64 or a smaller lr")
        values, rotation = torch.linalg.eigh((projected + projected.T).double() / 2)
        rotation = rotation.flip(1).T.to(like)
        values = values.flip(0).to(like)
        vectors = rotation[:carried] @ basis[:used]
        errors = rotation[:wanted] @ images[:used] - values[:wanted, None] * vectors[:wanted]
        residuals = errors.norm(dim=1) / values[:wanted].abs().clamp_min(torch.finfo(like.dtype).tiny)
        if bool((residuals <= tolerance).all()) or used == size:
            return Eigenpairs(values[:wanted], vectors[:wanted], residuals, vectors, spent)
        if spent >= max_products:
            raise EdgewiseError(
                f"hessian.tolerance: was {tolerance:g}; after {spent} Hessian-vector products the relative residual is"
                f" {residuals.max().item():.1e}: allow a larger one, or use compute.dtype float64"
            )
        open_pairs = errors[residuals > tolerance]
        if used + len(open_pairs) > room:
            keep = max(carried, room // 2)
            basis[:keep], images[:keep] = rotation[:keep] @ basis[:used], rotation[:keep] @ images[:used]
            used = keep
        for error in open_pairs:
            extend(error)


class EigenTracker:
    """Eigenpairs of an objective's Hessian along a run, each solve started from the one before it."""

    def __init__(self, objective: Objective, k: int = 1, *, tolerance: float = 1e-3) -> None:
        self.objective, self.k, self.tolerance = objective, k, tolerance
        self.subspace: Tensor | None = None

    def measure(self, theta: Tensor, preconditioner: Tensor | None = None) -> Eigenpairs:
        """The k leading eigenpairs of the Hessian at theta [P], or of P^-1/2 H P^-1/2 for a `preconditioner` P [P].

        The eigenvectors u of the latter are mapped back: v = P^-1/2 u, an eigenvector of P^-1 H, is the direction of
        parameter space along which the preconditioned optimiser oscillates. It is scaled to unit length, so that
        alignment and influence, for which it is v1, keep their meaning; such vectors are not orthogonal to each other.
        """
        hessian = self.objective.hessian(theta)
        if preconditioner is None:
            pairs = top_eigenpairs(hessian, theta, self.k, tolerance=self.tolerance, start=self.subspace)
            vectors = pairs.vectors
        else:
            root = preconditioner.sqrt()

            def product(u: Tensor) -> Tensor:
                return hessian(u / root) / root

            pairs = top_eigenpairs(product, theta, self.k, tolerance=self.tolerance, start=self.subspace)
            vectors = torch.nn.functional.normalize(pairs.vectors / root, dim=1)
        self.subspace = pairs.subspace
        return replace(pairs, vectors=vectors)
