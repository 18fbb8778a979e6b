"""The largest eigenvalues of a symmetric operator and their eigenvectors, started from the preceding measurement.

The method is Rayleigh-Ritz: diagonalise the operator on an orthonormal basis, extend the basis by the largest residual
of the wanted Ritz pairs, and repeat until all are small. For a single pair this is the Lanczos method with thick
restarts (Wu & Simon 2000), since the residual is the next Krylov vector. A solve for several pairs starts from a block
of vectors, and so it also finds eigenvalues that are equal or nearly so. All residuals lie in the few dimensions by
which the images of the basis leave it, of which an orthonormal frame is kept: their lengths cost no vector of length P.
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
    residuals : [k], |A v - lambda v| / |lambda|, with the largest of all times the tolerance for a smaller lambda, or
        with the least that rounding lets be told from it; not computed again, but with what rounding adds
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
    wanted, carried, block = min(k, size), min(k + GUARD, size), min(k, BLOCK, size)
    capacity = min(size, max(20, 4 * carried))
    generator, eps = torch.Generator().manual_seed(0), torch.finfo(like.dtype).eps
    resolved = max(
        tolerance, min(1.0, 2 * eps / tolerance)
    )  # of the largest: below it rounding alone exceeds tolerance
    # An orthonormal frame: first the basis, then what its images have outside of it, where all residuals lie.
    frame = like.new_empty((capacity + block, size))
    coefficients = like.new_zeros((capacity + block, capacity))  # frame A basis^T
    used = known = spent = 0  # rows of the basis, of the frame, and products

    def random_vector() -> Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64).to(like)

    def in_frame(vector: Tensor) -> Tensor:
        """The coefficients of a vector in the frame, which gets a row for what of it lies outside."""
        nonlocal known
        found, rest = vector.new_zeros(known), vector
        first = before = vector.norm()
        if not bool(first.isfinite()):
            return found + torch.nan
        for _ in range(4):  # a second pass removes what rounding leaves of a first that took most of the vector away
            inside = frame[:known] @ rest
            found, rest = found + inside, rest - inside @ frame[:known]
            length = rest.norm()
            if length > 0.5 * before:
                break
            before = length
        if known == size or not length > 20 * eps * first:  # but for rounding it lies inside
            return found
        frame[known] = rest / length
        known += 1
        return torch.cat([found, length[None]])

    def extend() -> None:
        """Take the first row after the basis into it."""
        nonlocal used, spent
        image = in_frame(product(frame[used]))
        coefficients[: len(image), used] = image
        used, spent = used + 1, spent + 1

    if start is not None:
        weights = torch.randn(block, len(start), generator=generator, dtype=torch.float64)
        for mixture in weights.to(like) @ start.to(like):
            in_frame(mixture)
    while known < block:
        in_frame(random_vector())
    for _ in range(block):
        extend()

    while True:
        if not bool(coefficients[:known, :used].isfinite().all()):
            raise NoEigenpairsError(
                "a Hessian-vector product is not finite: use float64 (compute.dtype), or a smaller step size"
                " (optimizer.lr)"
            )
        projected = coefficients[:used, :used].double()
        values, rotation = torch.linalg.eigh((projected + projected.T) / 2)
        rotation = rotation.flip(1).T.to(like)
        values = values.flip(0).to(like)
        outside = coefficients[used:known, :used] @ rotation.T  # of the images of the Ritz vectors: the residuals
        largest = values.abs().max()
        least = max(resolved * largest.item(), torch.finfo(like.dtype).tiny)  # of one that is 0
        # What rounding adds cannot be seen in the frame.
        residuals = (outside[:, :wanted].norm(dim=0) + eps * largest) / values[:wanted].abs().clamp_min(least)
        if used >= carried and (bool((residuals <= tolerance).all()) or used == size):
            subspace = rotation[:carried] @ frame[:used]
            return Eigenpairs(values[:wanted], subspace[:wanted], residuals, subspace, spent)
        if spent >= max_products:
            raise NoEigenpairsError(
                f"tolerance (hessian.tolerance): was {tolerance:g}; after {spent} Hessian-vector products the relative"
                f" residual is {residuals.max().item():.1e}: allow a larger one, or use float64 (compute.dtype)"
            )
        if used == capacity:  # restart from the leading Ritz vectors
            kept, rest = max(carried, capacity // 2), known - used
            frame[: kept + rest] = torch.cat([rotation[:kept] @ frame[:used], frame[used:known]])
            coefficients.zero_()
            coefficients[:kept, :kept] = values[:kept].diag()
            coefficients[kept : kept + rest, :kept] = outside[:, :kept]
            used, known = kept, kept + rest
        while known == used:  # the basis holds all of its images, and none lies outside
            in_frame(random_vector())
            outside = coefficients[used:known, :used]
        # Turned so that the worst residual is the first row after the basis.
        worst = outside[:, residuals.argmax(), None]
        turn = torch.linalg.qr(torch.cat([worst, torch.eye(known - used).to(like)], dim=1)).Q.T
        frame[used:known] = turn @ frame[used:known]
        coefficients[used:known, :used] = turn @ coefficients[used:known, :used]
        extend()


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
