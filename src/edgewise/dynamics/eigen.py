"""The largest eigenvalues of a symmetric operator and their eigenvectors, started from the preceding measurement.

The method is Rayleigh-Ritz: diagonalise the operator on an orthonormal basis, extend the basis by the largest residual
of the wanted Ritz pairs, and repeat until all are small. For a single pair this is the Lanczos method with restarts,
since the residual is the next Krylov vector. A solve for several pairs starts from a block of vectors, and so it also
finds eigenvalues that are equal or nearly so.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from edgewise.errors import NoEigenpairsError
from edgewise.network.objective import Objective

#: Ritz vectors that are kept beyond the wanted ones (guard vectors). If two eigenvalues cross between measurements, the
#: eigenvector of the new largest is then in the subspace that the next solve starts from. One at a right angle to all
#: that are kept is seen only once rounding or the turning of the others has brought it in.
GUARD = 2

#: Vectors that a solve starts from, at most. The Krylov space of one vector holds all pairs of distinct eigenvalues, at
#: fewer products than those of many; eigenvalues that are equal need as many vectors as they are.
BLOCK = 3


@dataclass(frozen=True)
class Eigenpairs:
    """The k largest eigenvalues (by value, not by modulus) and their eigenvectors.

    Attributes
    ----------
    values : [k], descending
    vectors : [k, P], orthonormal (of unit length alone from `EigenTracker.measure` with a preconditioner)
    residuals : [k], |A v - lambda v| / |lambda|, with the largest of all times the tolerance for a smaller lambda
    subspace : [k + GUARD, P], the leading Ritz vectors, from which the next solve starts
    products : number of operator products that were needed
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
    k : at most P pairs are returned
    start : [m, P], the `subspace` of an earlier solve of a similar operator, or else random vectors: the solve starts
        from mixtures of them, so that it improves the guard vectors as it does the wanted ones

    Raises
    ------
    NoEigenpairsError
        If the residual is still above `tolerance` after `max_products` products, or a product is not finite.

    Examples
    --------
    >>> matrix = torch.diag(torch.tensor([-5.0, 1.0, 2.0, 3.0], dtype=torch.float64))
    >>> pairs = top_eigenpairs(lambda v: matrix @ v, like=matrix[0], k=2)
    >>> [round(value, 3) for value in pairs.values.tolist()]
    [3.0, 2.0]
    >>> bool(pairs.vectors[0, 3].abs() > 0.999)
    True
    """
    size = len(like)
    wanted, carried = min(k, size), min(k + GUARD, size)
    capacity = min(size, max(20, 4 * carried))
    generator = torch.Generator().manual_seed(0)

    def random_vector() -> Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64).to(like)

    basis, images = like.new_empty((capacity, size)), like.new_empty((capacity, size))
    projected = like.new_empty((capacity, capacity))  # basis A basis^T
    used = spent = 0

    def extend(vector: Tensor) -> None:
        """Add to the basis the part of `vector` that is orthogonal to it; of a random vector, if that part is 0."""
        nonlocal used, spent
        first = before = vector.norm()
        for _ in range(2):  # a second pass removes what rounding leaves of a first that took most of the vector away
            vector = vector - (basis[:used] @ vector) @ basis[:used]
            length = vector.norm()
            if length > 0.5 * before:
                break
            before = length
        if not length > 1e-6 * first:
            extend(random_vector())
            return
        basis[used] = vector / length
        images[used] = product(basis[used])
        used, spent = used + 1, spent + 1
        projected[:used, used - 1] = projected[used - 1, :used] = basis[:used] @ images[used - 1]

    block = min(wanted, BLOCK)
    if start is None:
        mixtures = torch.stack([random_vector() for _ in range(block)])
    else:
        weights = torch.randn(block, len(start), generator=generator, dtype=torch.float64)
        mixtures = weights.to(like) @ start.to(like)
    for vector in mixtures:
        extend(vector)

    while True:
        here = projected[:used, :used]
        if not bool(here.isfinite().all()):
            raise NoEigenpairsError(
                "a Hessian-vector product is not finite: use float64 (compute.dtype), or a smaller step size"
                " (optimizer.lr)"
            )
        values, rotation = torch.linalg.eigh(here.double())
        rotation = rotation.flip(1).T.to(like)
        values = values.flip(0).to(like)
        vectors = rotation[:wanted] @ basis[:used]
        residual_vectors = rotation[:wanted] @ images[:used] - values[:wanted, None] * vectors
        least = max(tolerance * values.abs().max().item(), torch.finfo(like.dtype).tiny)  # of one that is 0
        residuals = residual_vectors.norm(dim=1) / values[:wanted].abs().clamp_min(least)
        if used >= carried and (bool((residuals <= tolerance).all()) or used == size):
            return Eigenpairs(values[:wanted], vectors, residuals, rotation[:carried] @ basis[:used], spent)
        if spent >= max_products:
            raise NoEigenpairsError(
                f"tolerance (hessian.tolerance): was {tolerance:g}; after {spent} Hessian-vector products the relative"
                f" residual is {residuals.max().item():.1e}: allow a larger one, or use float64 (compute.dtype)"
            )
        if used == capacity:  # restart from the leading Ritz vectors
            used = max(carried, capacity // 2)
            basis[:used], images[:used] = rotation[:used] @ basis, rotation[:used] @ images
            projected[:used, :used] = basis[:used] @ images[:used].T
        extend(residual_vectors[residuals.argmax()])


class EigenTracker:
    """Eigenpairs of an objective's Hessian along a run; each solve starts from the subspace of the preceding one.

    Attributes
    ----------
    subspace : [k + GUARD, P], of the last solve; None before the first
    """

    def __init__(self, objective: Objective, k: int = 1, *, tolerance: float = 1e-3) -> None:
        self.objective, self.k, self.tolerance = objective, k, tolerance
        self.subspace: Tensor | None = None

    def measure(self, theta: Tensor, preconditioner: Tensor | None = None) -> Eigenpairs:
        """The k leading eigenpairs of the Hessian at theta [P], or of P^-1/2 H P^-1/2 for a `preconditioner` P [P].

        With a preconditioner, the vectors returned are v = P^-1/2 u for the eigenvectors u. They are eigenvectors of
        P^-1 H, the directions in parameter space along which the preconditioned optimiser oscillates. They have unit
        length, as alignment and influence require of v1, but are not orthogonal to each other.
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
