"""Eigenpairs at an end of the spectrum, each with a measured residual."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from landscape.arguments import checked
from landscape.bars import bar
from landscape.errors import LandscapeError
from landscape.results import Eigenpairs
from landscape.spectra.basis import Where, planned
from landscape.spectra.certificate import Certificate, Certify, certified, make_demand
from landscape.spectra.goal import Goal, Which, make_goal, select
from landscape.spectra.lanczos import Lanczos, LanczosState
from landscape.spectra.measured import Found, measure
from landscape.spectra.protocol import Operator, Products, as_rows, deflated
from landscape.store import Run, identity
from landscape.store.run import placed

Method = Literal["auto", "lanczos", "block"]


@checked
def top_eigenpairs(
    op: Operator,
    k: int = 5,
    which: Which = "LA",
    tol: float = 1e-3,
    seed: int = 0,
    *,
    method: Method = "auto",
    block_size: int | None = None,
    max_basis: int | None = None,
    max_matvecs: int | None = None,
    basis: Where = "device",
    start: Any = None,
    deflate: Any = None,
    vectors: bool = True,
    verify: bool = True,
    certify: Certify = "check",
    margin: float = 0.1,
    checkpoint: str | Path | Callable[[LanczosState], None] | None = None,
    checkpoint_seconds: float = 30.0,
    resume: LanczosState | None = None,
    save: tuple[str | Path, str] | None = None,
    overwrite: bool = False,
) -> Eigenpairs:
    """Compute k eigenpairs at an end of the spectrum by thick-restart Lanczos, until ‖Av − λv‖ ≤ tol·|λ| for each.

    The run stops when the residuals that the recurrence implies are small enough, then measures them with one block of
    fresh products, takes the Rayleigh quotients as eigenvalues, and goes on when a measured residual fails. An
    eigenvalue of A lies within each residual of its value: |λ − λ*| ≤ ‖Av − λv‖ (Parlett 1998, theorem 4.5.1).

    A residual does not say that the value is the j-th. So the run ends with a search of what the pairs leave of the space, from
    a fresh random start: what it finds beyond the last pair joins, copies of a multiple eigenvalue included, and
    `Eigenpairs.certificate` says how far that was taken.

    Single-vector Lanczos needs the fewest products. The block variant finds eigenvalues of multiplicity up to its block
    size, separates clusters, and pays where a block of products costs little more than one. Operators with P ≤ 64 are
    solved in the whole space, every multiplicity included.

    Args:
        op: symmetric operator (P, P).
        k: how many pairs, 1 ≤ k ≤ P.
        which: ``LA`` most positive, ``SA`` most negative, ``LM`` largest magnitude, ``BE`` both ends in one run.
        tol: relative residual asked for. The run itself goes on to 1e-3 where products allow, because at a looser one an
            eigenvalue may not have shown yet.
        seed: seed of the start vector.
        method: ``lanczos``, ``block``, or ``auto``: the operator's own ``block_size`` decides, one vector without it.
        block_size: vectors multiplied at a time in the block variant.
        max_basis: the largest number of vectors of length P kept; more of them save products.
        max_matvecs: products to spend at most.
        basis: where the vectors lie: on the operator's ``device``, on the ``cpu``, or on ``disk`` (in the folder of `tempfile`);
            they are multiplied where they lie.
        start: vectors to start from: (P,), rows (s, P) or `Eigenpairs` of a nearby operator. For a Hessian
            ``objective.gradient()`` saves a few products (Gur-Ari et al. 2018: it lies mostly in the outliers).
        deflate: known eigenvectors to leave out: rows (d, P) or `Eigenpairs`.
        vectors: whether to return the eigenvectors.
        verify: measure the residuals with fresh products; without it they are those the recurrence implies.
        certify: ``check`` spends up to 6 products, more only where they find something, and bounds the probability of a miss;
            a probability such as 0.99 spends what it takes to promise that; ``off`` spends none.
        margin: ε: a miss is an eigenvalue beyond λ_k by more than ε·|λ_k|.
        checkpoint: a file that keeps the run while it lasts and from which the same call goes on after a kill, or a
            function that takes a `LanczosState` after every block of products.
        checkpoint_seconds: the least time between two writings of that file, which holds the whole basis.
        resume: a state to continue from.
        save: ``("study.h5", "sgd-0/top5")``: store the result; until then the run is kept beside the study, as with
            `checkpoint`, and the same call goes on after a kill. A result of the same call is found there.
        overwrite: replace a different result of that name.

    Returns:
        `Eigenpairs`, with a message that says what to do where the pairs did not converge.

    Raises:
        LandscapeError: k, which, tol, certify, margin, `max_basis`, `start` or `deflate` do not fit the operator; or the
            study holds another result of that name.
        NumericalError: the operator is not symmetric, not deterministic, or a product is not finite. In the search after
            the pairs have converged the certificate says so instead.

    >>> pairs = top_eigenpairs(torch.diag(torch.tensor([3.0, -7.0, 1.0, 0.0])), k=2, which="LM")
    >>> [round(float(value), 4) for value in pairs.values]
    [-7.0, 3.0]
    """
    started = time.perf_counter()
    demand = make_demand(certify, margin)
    products = Products(op)
    nothing = torch.empty(0, products.world.length(products.size), dtype=products.dtype, device=products.device)
    locked = nothing if deflate is None else deflated(deflate, products)
    goal = make_goal(
        products,
        k=k,
        which=which,
        tol=tol,
        locked=len(locked),
        block_size=_block_size(method, block_size, k, products),
        max_basis=max_basis,
        max_matvecs=max_matvecs,
        verify=verify,
    )
    if save is not None and checkpoint is not None:
        raise LandscapeError("save= keeps the run beside the study already: leave out checkpoint=")
    label = f"eigenpairs of the {products.name} ({planned(products, goal.max_basis + len(locked), basis)})"
    begin = _start(start, goal.block_size, seed, products)
    known = "weights_sha256" in products.provenance and hasattr(products.op, "objective")
    settings = {
        "k": k, "which": which, "tol": tol, "seed": seed, "block_size": goal.block_size, "max_basis": max_basis,
        "max_matvecs": max_matvecs, "start": None if start is None else begin, "vectors": vectors, "verify": verify,
        "deflated": None if deflate is None else locked,
        **({} if certify == "check" else {"certify": certify}), **({} if margin == 0.1 else {"margin": margin}),
    }  # fmt: skip
    place = placed(save, Eigenpairs) or (checkpoint if isinstance(checkpoint, str | Path) else None)
    run: Run[Eigenpairs] = Run(
        place, lambda: _identity(products, known, begin, settings), overwrite=overwrite, world=products.world
    )
    with run:
        if run.result is not None:
            return run.result
        lanczos = Lanczos(products, begin, capacity=goal.max_basis, seed=seed, locked=locked, where=basis)
        if resume is None and "state" in run.done:
            resume = LanczosState(**run.done["state"])
        history = [] if resume is None else [(int(count), float(excess)) for count, excess in resume.history]
        if resume is not None:
            lanczos.resume(resume)

        def state() -> LanczosState:
            known = np.array(history).reshape(-1, 2)
            return replace(lanczos.state(), history=known, matvecs=int(known[-1, 0]))

        keeper = _Keeper(run, checkpoint_seconds)
        keep = (lambda: checkpoint(state())) if callable(checkpoint) else (lambda: keeper(state))
        keeps = callable(checkpoint) or (place is not None and not products.world.sharded)
        try:
            found = _iterate(lanczos, goal, history, label, keep if keeps else None)
            known_to_miss = Certificate()
            if demand is not None:
                found, known_to_miss = certified(
                    products, goal, found, locked, demand, seed=seed, whole=lanczos.exhausted
                )
        except KeyboardInterrupt:
            if keeps and place is not None:
                keeper(state, now=True)
            raise
        return run.finish(
            Eigenpairs(
                values=found.values,
                residuals=found.residuals,
                vectors=products.world.whole(found.vectors).cpu().numpy() if vectors else None,
                gaps=found.gaps,
                history=np.array([excess * tol for _, excess in history]),
                history_matvecs=np.array([count for count, _ in history], dtype=np.int64),
                operator=products.name,
                which=which,
                tol=tol,
                matvecs=products.count,
                converged=found.converged,
                verified=verify,
                message=found.message,
                block_size=goal.block_size,
                max_basis=goal.max_basis,
                restarts=lanczos.restarts,
                seed=seed,
                **vars(known_to_miss),
                provenance=products.provenance,
                seconds=time.perf_counter() - started,
            )
        )


def _identity(products: Products, known: bool, begin: Tensor, settings: dict[str, Any]) -> dict[str, Any]:
    """Return what makes the call the same.

    Scaled operators and sums do not say all that they are made of, nor do others' operators: one more product tells.
    """
    if known:
        return identity(products.op, **settings)
    if isinstance(products.op, Tensor):
        return identity(matrix=products.op, **settings)
    probe = Products(products.op).rows(begin[:1])
    return identity(operator=products.name, provenance=products.provenance, probe=probe, **settings)


def _iterate(
    run: Lanczos, goal: Goal, history: list[tuple[int, float]], label: str, keep: Callable[[], None] | None
) -> Found:
    """Extend the basis until the measured residuals pass, the space ends, or the budget does; `history` grows by every step."""
    strictness, attempts = 1.0, 0
    judged = run.size > 0  # a run that goes on may have been there already
    reserve = goal.k * goal.verify + goal.block_size
    with bar(desc=label, unit="product") as progress:
        while True:
            if not judged:
                goal.make_room(run)
                goal.absorb(run, run.products.rows(run.candidates))
            values, coefficients, residuals = run.ritz()
            if not judged:
                wanted = select(values, goal.which, goal.k)
                worst = goal.excess(values[wanted], residuals[wanted], np.abs(values).max()).max()
                history.append((run.products.count, float(worst)))
                progress.update(run.products.count - progress.n)
                if keep is not None:
                    keep()
            judged = False
            spent = run.products.count + reserve > goal.max_matvecs
            if not (run.exhausted or spent or goal.reached(run, values, residuals, strictness)):
                continue
            attempts += 1
            found = measure(run, goal, values, coefficients, residuals)
            if found.converged or run.exhausted or spent or attempts == 4:
                return found
            strictness *= 0.2


def _block_size(method: Method, block_size: int | None, k: int, products: Products) -> int:
    """Decide how many vectors to multiply at a time."""
    if method not in get_args(Method):
        raise LandscapeError(f"method={method!r} is unknown: use 'auto', 'lanczos' or 'block'")
    if method == "lanczos":
        if block_size not in (None, 1):
            raise LandscapeError(
                f"method='lanczos' multiplies one vector at a time, not {block_size}: use method='block'"
            )
        return 1
    if block_size is None:
        block_size = products.block_size if method == "auto" or products.block_size > 1 else max(2, min(k, 8))
    return min(block_size, products.size)


def _start(start: Any, block_size: int, seed: int, products: Products) -> Tensor:
    """Return start rows (b, P): random, or the given ones.

    A single vector starts from the sum of several given ones: it has a part in each, which is all Lanczos needs to find
    every one of them again.
    """
    random = products.probes(seed, "gaussian").rows(0, block_size)
    if start is None:
        return random
    rows = as_rows(start, products, "start")
    norms = products.world.norm(rows)[:, None]
    if not bool((norms > 0).all()):
        raise LandscapeError("start holds a zero vector: expected vectors with a direction")
    rows = rows / norms
    if block_size == 1:
        return rows.sum(0, keepdim=True)
    return torch.cat([rows[:block_size], random[len(rows) :]])


class _Keeper:
    """Keeps the state of a process from time to time; a full disk costs the keeping, not the computation.

    Args:
        run: where to.
        every: seconds between two writings; the state holds the whole basis.
    """

    def __init__(self, run: Run[Eigenpairs], every: float) -> None:
        self.run, self.every = run, every
        self._written, self._warned = time.monotonic(), False

    def __call__(self, state: Callable[[], LanczosState], *, now: bool = False) -> None:
        """Keep the state unless it was kept a moment ago."""
        if not now and time.monotonic() - self._written < self.every:
            return
        self._written = time.monotonic()
        try:
            self.run.keep("state", vars(state()))
        except LandscapeError as error:
            if not self._warned:
                warnings.warn(f"{error}; the computation goes on, and cannot be resumed after a kill", stacklevel=2)
            self._warned = True
