"""Traces from sketches in which every probe serves twice, XTrace and XNysTrace, and what other sketches share with them.

Every probe helps to sketch the range, and is used once more to estimate what the sketch of the other probes misses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count as count_from

import numpy as np
import torch
from scipy.linalg import cholesky, solve_triangular
from torch import Tensor

from landscape.bars import bar
from landscape.errors import LandscapeError
from landscape.spectra.basis import SLICE, host, orthonormalise
from landscape.spectra.protocol import Probes, Products
from landscape.spectra.sampling import jackknife, precise, standard_error

JACKKNIFE = 64
"""The most test vectors left out in turn: each costs the small problem once more."""

SHARED = 1.4
"""How many times the spread of the estimates their mean may err: they share a sketch, which the spread does not see.
Measured over seeds on flat, polynomial, exponential, stepped and indefinite spectra and an MLP's, 16 to 200 products, the
smaller of this and the jackknife is 0.8 to 1.4 times the error, where the jackknife alone is 1.1 to 5 times it."""


def sketched_samples(
    products: Products, matvecs: int, seed: int, method: str, tol: float | None
) -> tuple[np.ndarray, float]:
    """Return the leave-one-out estimates (n,) of tr A by ``xtrace`` or ``xnystrace``, and the standard error of their mean.

    With a tolerance the sketch grows by half until the error is small enough.

    Raises:
        LandscapeError: ``xnystrace`` of an operator with negative eigenvalues.
    """
    sketch: XTrace | XNysTrace = XTrace(products, seed) if method == "xtrace" else XNysTrace(products, seed)
    most = matvecs // sketch.cost
    with bar(total=sketch.cost * most, desc=f"trace of the {products.name}", unit="product") as progress:
        wanted = most if tol is None else min(sketch.fewest, most)
        while True:
            progress.update(sketch.cost * (wanted - sketch.count))
            sketch.grow(wanted)
            samples, error = sketch.estimates()
            if wanted == most or precise(float(samples.mean()), error, tol):
                return samples, error
            wanted = min(most, wanted + max(2, wanted // 2))


class Range:
    """An orthonormal basis Q of the products Y = Az of probes z, and R with Y = QᵀR, growing with the probes."""

    def __init__(self, products: Products, probes: Probes) -> None:
        self.products, self.probes, self.basis = products, probes, products.basis()
        self.triangle = np.zeros((0, 0))
        self.count = 0
        self._fresh = count_from(1 << 40)

    def grow(self, count: int) -> None:
        """Take probes until there are `count`."""
        block = self.products.block_size
        for start in range(self.count, count, block):
            self._take(self.probes.rows(start, min(start + block, count)))

    def _take(self, probes: Tensor) -> tuple[Tensor, Tensor]:
        """Multiply probes; return their products and the new rows of the basis."""
        applied = self.products.rows(probes)
        room = self.products.size - len(self.basis)
        split = orthonormalise(applied, self.basis, room=room, negligible=0.0, draw=self._draw)
        self.products.require_finite(split.triangle)
        below = np.zeros((len(split.rows), self.count))
        self.triangle = np.block([[self.triangle, split.coefficients], [below, split.triangle]])
        self.basis.append(split.rows)
        self.count += len(probes)
        return applied, split.rows

    def _draw(self) -> Tensor:
        number = next(self._fresh)
        return self.probes.rows(number, number + 1)[0]


def leave_one_out_directions(triangle: np.ndarray) -> np.ndarray:
    """Return unit columns sᵢ orthogonal to every column of R (r, n) but the i-th; zero where R has dependent columns.

    Dependent columns mean that the products without vector i span the same range as all of them.

    >>> leave_one_out_directions(np.array([[2.0, 0.0], [0.0, 3.0]]))
    array([[1., 0.],
           [0., 1.]])
    """
    rows, columns = triangle.shape
    pivots = np.abs(np.diagonal(np.linalg.qr(triangle, mode="r")))
    if rows != columns or pivots.min() <= 1e-13 * pivots.max():
        return np.zeros((rows, columns))
    if np.array_equal(triangle, np.triu(triangle)):
        directions = solve_triangular(triangle, np.eye(rows), trans="T")
    else:
        directions = np.linalg.inv(triangle).T
    unit: np.ndarray = directions / np.linalg.norm(directions, axis=0)
    return unit


@dataclass(frozen=True)
class SmallProblem:
    """What XTrace needs to know of n test vectors ω and their products Y = Aω, in coordinates of a basis Q of Y.

    Attributes:
        size: P.
        triangle: R (r, n) with Y = QᵀR; r = n unless vectors were left out.
        form: H (r, r) = QAQᵀ.
        overlap: W (r, n) = Qω.
        diagonal: ω·Aω (n,).
    """

    size: int
    triangle: np.ndarray
    form: np.ndarray
    overlap: np.ndarray
    diagonal: np.ndarray

    def estimates(self) -> np.ndarray:
        """Return the n leave-one-out estimates of tr A, each unbiased.

        The basis without vector i is Q without the direction sᵢ, the part of Y that only Aωᵢ reaches; estimate i is
        tr(QᵢAQᵢᵀ) plus ωᵢᵀ(I − QᵢᵀQᵢ)A(I − QᵢᵀQᵢ)ωᵢ, rescaled to the length that a vector uniform on the sphere of the
        complement should have (Epperly, Tropp and Webber 2024, sections 2.2 and 2.3).
        """
        directions = leave_one_out_directions(self.triangle)
        inside = self.overlap - directions * (directions * self.overlap).sum(0)
        left = self.diagonal + (inside * (self.form @ inside - 2 * self.triangle)).sum(0)
        length = self.size - (inside**2).sum(0)
        removed = (directions * (self.form @ directions)).sum(0)
        room = self.size - len(self.form) + (directions**2).sum(0)
        estimates: np.ndarray = np.trace(self.form) - removed + room / length * left
        return estimates

    def of(self, rest: np.ndarray) -> SmallProblem:
        """Return the problem of all vectors but one, from the same products."""
        [index] = np.setdiff1d(np.arange(len(self.diagonal)), rest)
        direction = leave_one_out_directions(self.triangle)[:, [index]]
        kept = np.linalg.qr(direction, mode="complete")[0][:, 1:] if np.any(direction) else np.eye(len(direction))
        return SmallProblem(
            self.size,
            kept.T @ self.triangle[:, rest],
            kept.T @ self.form @ kept,
            kept.T @ self.overlap[:, rest],
            self.diagonal[rest],
        )


class XTrace(Range):
    """XTrace: two products per test vector.

    The estimates share their sketch, so that their spread understates the error of the mean. The jackknife of the whole
    estimator, recomputed without each test vector from the same products, overstates it (Efron and Stein 1981; Epperly and
    Tropp 2024, "Efficient error and variance estimation"), the more the faster the spectrum decays. The error returned is the
    smaller of the jackknife and `SHARED` times the spread.
    """

    cost, fewest = 2, 8

    def __init__(self, products: Products, seed: int) -> None:
        super().__init__(products, products.probes(seed, "sphere"))
        self.seed = seed
        self._form = np.zeros((0, 0))
        self._diagonal = np.zeros(0)

    def _take(self, probes: Tensor) -> tuple[Tensor, Tensor]:
        old = len(self.basis)
        applied, rows = super()._take(probes)
        self._diagonal = np.concatenate([self._diagonal, host(self.products.world.dot(probes, applied))])
        columns = host(self.basis.project(self.products.rows(rows)))
        self.products.require_finite(columns)
        corner = (columns[old:] + columns[old:].T) / 2
        self._form = np.block([[self._form, columns[:old]], [columns[:old].T, corner]])
        return applied, rows

    def estimates(self) -> tuple[np.ndarray, float]:
        """Return the estimates (n,) and the standard error of their mean."""
        problem = self._problem()
        samples = problem.estimates()
        error = _shared_error(lambda rest: float(problem.of(rest).estimates().mean()), self.count, self.seed)
        return samples, min(error, SHARED * standard_error(samples))  # of NaN, NaN

    def _problem(self) -> SmallProblem:
        """Return the problem in coordinates of the basis; the test vectors are drawn again instead of kept."""
        starts = range(0, self.count, 16)
        overlap = [host(self.basis.project(self.probes.rows(start, min(start + 16, self.count)))) for start in starts]
        return SmallProblem(self.products.size, self.triangle, self._form, np.hstack(overlap), self._diagonal)


class XNysTrace:
    """XNysTrace: Nyström approximations of a positive semi-definite operator, one product per test vector."""

    cost, fewest = 1, 10

    def __init__(self, products: Products, seed: int) -> None:
        self.products, self.seed, self.probes = products, seed, products.probes(seed, "sphere")
        length = products.world.length(products.size)
        self.applied = torch.empty(0, length, dtype=products.dtype, device=products.device)

    @property
    def count(self) -> int:
        """How many test vectors there are."""
        return len(self.applied)

    def grow(self, count: int) -> None:
        """Take test vectors until there are `count`."""
        block = self.products.block_size
        for start in range(self.count, count, block):
            rows = self.products.rows(self.probes.rows(start, min(start + block, count)))
            self.applied = torch.cat([self.applied, rows])

    def estimates(self) -> tuple[np.ndarray, float]:
        """Return the estimates (n,) and a conservative (jackknife) standard error of their mean.

        A is shifted by ν at the rounding level, so that the core stays positive definite where A is singular.
        """
        products, world = self.products, self.products.world
        omega, applied = self.probes.rows(0, self.count), self.applied
        norm = float(world.norm(applied.flatten(), dtype=torch.float64))
        products.require_finite(norm)
        if norm == 0:
            return np.zeros(len(omega)), 0.0
        core = self._gram(omega, applied)
        core = (core + core.T) / 2
        spectrum = np.linalg.eigvalsh(core)
        if spectrum[0] < -100 * products.epsilon * norm * products.size**0.5:
            raise LandscapeError(
                f"the {products.name} has negative eigenvalues (zᵀAz = {spectrum[0]:.1e} for some z), and xnystrace needs a "
                "positive semi-definite operator: use method='xtrace'"
            )
        gram = self._gram(omega, omega)
        shift = products.epsilon * norm / len(omega) ** 0.5
        shift = max(shift, -2 * spectrum[0] / np.linalg.eigvalsh(gram)[0])
        triangle = host(world.factor(applied + shift * omega, vectors=False)[1])
        core = core + shift * gram

        def mean(rest: np.ndarray) -> float:
            pair = np.ix_(rest, rest)
            return float(leave_one_out(triangle[:, rest], core[pair], gram[pair], products.size).mean())

        samples = leave_one_out(triangle, core, gram, products.size) - shift * products.size
        return samples, _shared_error(mean, self.count, self.seed)

    def _gram(self, left: Tensor, right: Tensor) -> np.ndarray:
        """Return the inner products of rows (n, n) in float64, slice by slice."""
        slices = zip(left.split(SLICE, dim=1), right.split(SLICE, dim=1), strict=True)
        return host(self.products.world.over_parts(torch.stack([a.double() @ b.double().T for a, b in slices]).sum(0)))


def leave_one_out(triangle: np.ndarray, core: np.ndarray, gram: np.ndarray, size: int) -> np.ndarray:
    """Return the leave-one-out estimates (n,) of the trace, each unbiased.

    With B = ωᵀAω, the Nyström approximation without vector i differs from the full one by Y bᵢbᵢᵀYᵀ / gᵢ, where bᵢ is
    column i of B⁻¹ and gᵢ its diagonal entry, and leaves 1/gᵢ of ωᵢᵀAωᵢ unexplained; that is rescaled to the length a
    vector uniform on the sphere of the complement should have (Epperly, Tropp and Webber 2024, section 2.4).

    Args:
        triangle: R with Y = QR (rows, n).
        core: B (n, n), positive definite.
        gram: ωᵀω (n, n).
        size: P.

    >>> leave_one_out(np.eye(1), np.eye(1), np.eye(1), 1)
    array([1.])
    """
    lower = cholesky(core, lower=True)
    inverse = solve_triangular(lower, np.eye(len(core)), lower=True)
    factor = triangle @ inverse.T
    entries = (inverse**2).sum(0)
    explained = (factor**2).sum() - ((factor @ inverse) ** 2).sum(0) / entries
    length = 1 / np.diagonal(np.linalg.inv(gram))
    estimates: np.ndarray = explained + (size - len(core) + 1) / length / entries
    return estimates


def _shared_error(mean: Callable[[np.ndarray], float], count: int, seed: int) -> float:
    """Return the jackknife error, of many vectors with a random part left out in turn; NaN for fewer than three vectors."""
    if count < 3:
        return float("nan")
    return jackknife(mean, count, np.random.default_rng(seed).permutation(count)[:JACKKNIFE])
