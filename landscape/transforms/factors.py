"""Products of weights: T6, which changes the basis between two factors, and their gauge, the singular value decomposition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from landscape.arguments import seeded_generator
from landscape.errors import LandscapeError
from landscape.function.objective import Objective
from landscape.graphs.exported import Inputs
from landscape.graphs.units.factors import Product, products_of, search_products
from landscape.graphs.units.spaces import module_of
from landscape.transforms.apply import Transformed, duplicate, entries, finish, positive, replaced

Places = Mapping[str, Tensor]
"""For each tensor, numbers that order its entries, in its shape."""

SWEEPS = 200
"""Sweeps that bring the rows and columns of a product to equal length; ten to thirty are usual."""
FIRST = 0.3
"""Share of the largest entry, or of what is left of it, from which a column may set a sign or the next axis: well below 1, so
that rounding does not choose among columns of equal size."""


def gl_attention(model: nn.Module, example_inputs: Inputs, *, alpha: float = 1.0, seed: int = 0) -> Transformed:
    r"""Multiply the two factors of every product of weight matrices by an invertible matrix and by its inverse.

    Queries and keys of a head enter attention only as $q^\top k$, so that $W_Q \to A^{-\top} W_Q$, $W_K \to A W_K$,
    with their biases, preserves it for any $A \in GL(h)$; likewise values and output, $W_V \to B W_V$,
    $W_O \to W_O B^{-1}$, and two linear layers without anything between, such as LoRA's factors. Heads that share keys
    or values share A or B. Scores invariant to rescaling need not be invariant to this.

    Args:
        model, example_inputs: a network, which is copied, and inputs of it: a tensor (N, …) or a tuple of arguments.
        alpha: A is alpha times a Gaussian matrix of unit variance per column, redrawn until well conditioned.
        seed: of the matrices.

    Raises:
        LandscapeError: the network has no such product; rotary embeddings and normalised queries break it.

    Source: da Silva et al. 2025, *Hide & Seek: transformer symmetries obscure sharpness & Riemannian geometry finds it*
    (arXiv 2505.05409), §3.

    >>> from landscape.models import transformer
    >>> moved = gl_attention(transformer(layers=1).double(), torch.ones(1, 1, 8, 8).double())
    >>> moved.where, moved.change < 1e-10
    (('blocks.0.attention.query_key_value', 'blocks.0.attention.output'), True)
    """
    positive(alpha)
    products = search_products(model, example_inputs)[0]
    if not products:
        raise LandscapeError(
            "GL(h) has no valid place in this network: it needs attention whose queries, keys and values come straight "
            "from linear layers, or two linear layers in a row."
        )
    clone, tensors = duplicate(model)
    generator = seeded_generator(seed)
    for product in products:
        matrix = alpha * _well_conditioned(product.width, generator)
        for side, basis in ((product.left, matrix), (product.right, torch.linalg.inv(matrix).T)):
            for name, where in side:
                rows = entries(tensors[name], where)
                tensors[name].copy_(replaced(tensors[name], where, basis.to(rows.device) @ rows.double()))
    names = (name for product in products for name in product.modules)
    return finish(model, clone, "GL(h)", example_inputs, names)


def _well_conditioned(width: int, generator: torch.Generator) -> Tensor:
    """Draw a Gaussian matrix (width, width) over √width, in float64, whose condition number is at most 10·width."""
    while True:
        matrix = torch.randn(width, width, generator=generator, dtype=torch.float64) / width**0.5
        if torch.linalg.cond(matrix) <= 10 * width:
            return matrix


def fix_factors(model: nn.Module, example_inputs: Inputs) -> Transformed:
    r"""Bring the two factors of every product of weight matrices to the basis of its singular value decomposition.

    Queries and keys of a head enter attention only as :math:`W_Q^\top W_K`, values and output projection only as
    :math:`W_O W_V`, LoRA's factors only as their product. Of all :math:`(A^{-\top} L, A R)` with the same product
    :math:`L^\top R` this returns those with

    .. math:: D_L L^\top R\, D_R = U S V^\top, \qquad L = T S^{1/2} U^\top D_L^{-1}, \quad R = T^{-1} S^{1/2} V^\top D_R^{-1}

    with diagonal matrices: :math:`D_L, D_R` bring the rows and columns of the product to equal length, so that the basis
    does not depend on a rescaling of the neurons on either side (T1, T2), and T makes row i of L as long as row i of R, which
    splits the singular values evenly. Biases are columns of their factor. Heads that share keys or values are one product.
    Signs, and the basis where singular values are equal, are set by the first entries that are large enough; rows of
    singular value zero are zero.

    Args:
        model, example_inputs: a network, which is copied, and inputs of it: a tensor (N, …) or a tuple of arguments.

    Raises:
        LandscapeError: the network has no such product, or cannot be traced.

    Source: the symmetry: da Silva et al. 2025 (arXiv 2505.05409), §3; the gauge was made for this package.

    >>> from landscape.models import transformer
    >>> x = torch.ones(1, 1, 8, 8).double()
    >>> net = transformer(layers=1).double()
    >>> one, other = fix_factors(net, x).model, fix_factors(gl_attention(net, x).model, x).model
    >>> all(torch.allclose(p, q) for p, q in zip(one.parameters(), other.parameters()))
    True
    """
    found, left = _alone(search_products(model, example_inputs))
    if not found:
        raise LandscapeError(f"There are no products of weights to fix here{f': {left[0]}' if left else ''}.")
    clone, tensors = duplicate(model)
    first_at, start = {}, 0
    for name, tensor in tensors.items():
        first_at[name], start = torch.arange(start, start + tensor.numel()), start + tensor.numel()
    for name, tensor in _fixed(tensors, found, first_at).items():
        tensors[name].copy_(tensor)
    where = (name for product in found for name in product.modules)
    return finish(model, clone, "the gauge of products", example_inputs, where)


def factors_fixed(objective: Objective) -> tuple[Objective, tuple[str, ...]]:
    """Return the objective with the factors of every product as `fix_factors` makes them, and what was left as it is.

    Products without a selected parameter are left alone; of those with some, both factors change.
    """
    try:
        searched = products_of(objective)
    except LandscapeError as error:
        return objective, (f"a change of basis in attention is left in: {str(error).rstrip('.')}",)
    found, left = _alone(searched)
    chosen = set(objective.names)
    found = [product for product in found if chosen & {name for name, _ in (*product.left, *product.right)}]
    if found:
        space, held = objective.whole_space, {name for p in found for name, _ in (*p.left, *p.right)}
        own = {**objective.fixed, **objective.whole_tensors(held)}
        # the order of theta, in which draws are made: then a permuted network in the coordinates of the original agrees
        places: dict[str, Tensor] = {name: torch.arange(t.numel()) + space.size for name, t in objective.fixed.items()}
        places |= replace(space, dtypes=(torch.long,) * len(space.names)).unflatten(torch.arange(space.size))
        changed = _fixed(own, found, places)
        rest = {name: changed.get(name, tensor) for name, tensor in objective.fixed.items()}
        objective = objective.with_fixed(rest).with_tensors(changed)
    return objective, left


def _alone(searched: tuple[list[Product], tuple[str, ...]]) -> tuple[list[Product], tuple[str, ...]]:
    """Return the products that share no entry with another one, and what is left as it is in words."""
    products, left = searched
    by_name: dict[str, list[Tensor]] = {}
    for name, where in (part for product in products for part in (*product.left, *product.right)):
        by_name.setdefault(name, []).append(where.flatten())
    uses = {name: torch.bincount(torch.cat(parts)) for name, parts in by_name.items()}
    chained = [any(bool((uses[name][w] > 1).any()) for name, w in (*p.left, *p.right)) for p in products]
    names = dict.fromkeys(module_of(p.left[0][0]) for p, several in zip(products, chained, strict=True) if several)
    if names:
        left = (*left, f"a change of basis is left in at {', '.join(names)}: three or more linear layers in a row")
    return [product for product, several in zip(products, chained, strict=True) if not several], left


def _fixed(tensors: Mapping[str, Tensor], products: list[Product], places: Places) -> dict[str, Tensor]:
    """Return the tensors that hold factors, with these in their gauge."""
    out: dict[str, Tensor] = {}
    for product in products:
        sides, order = [], None
        for side in (product.left, product.right):
            at = torch.cat([places[name].reshape(-1)[where] for name, where in side], 1)
            order = at[:, 0].argsort() if order is None else order
            sides.append((side, order, at[order[0]].argsort()))
        values = []
        for side, rows, columns in sides:
            parts = [entries(out.get(name, tensors[name]), where).double().cpu() for name, where in side]
            values.append(torch.cat(parts, 1)[rows][:, columns])
        eps = max(torch.finfo(tensors[name].dtype).eps for name, _ in (*product.left, *product.right))
        for (side, rows, columns), new in zip(sides, canonical(*values, eps=eps), strict=True):
            back = torch.empty_like(new)
            back[rows[:, None], columns] = new
            for (name, where), part in zip(side, back.split([where.shape[1] for _, where in side], 1), strict=True):
                out[name] = replaced(out.get(name, tensors[name]), where, part)
    return out


def canonical(left: Tensor, right: Tensor, *, eps: float = torch.finfo(torch.float64).eps) -> tuple[Tensor, Tensor]:
    """Return the canonical factors of a product leftᵀ right.

    Args:
        left: L, (h, n), in float64.
        right: R, (h, m).
        eps: precision of the weights: singular values below it, relative to the largest, are zero, and those nearer to
            each other than its square root are equal.

    >>> L, R, A = torch.randn(3, 2, 2, generator=torch.Generator().manual_seed(0)).double()
    >>> one, other = canonical(L, R), canonical(A @ L, torch.linalg.inv(A).T @ R)
    >>> torch.allclose(one[0], other[0]), torch.allclose(one[0].T @ one[1], L.T @ R)
    (True, True)
    """
    a, b = _equal_lengths(left, right)
    (qa, ra), (qb, rb) = torch.linalg.qr((left * a).T), torch.linalg.qr((right * b).T)
    u, s, vt = torch.linalg.svd(ra @ rb.T, full_matrices=False)
    s = torch.where(s > s[0] * eps * max(left.shape[1], right.shape[1], len(left)), s, 0.0)
    x, y = (qa @ u).T, (qb @ vt.T).T
    new = torch.zeros_like(left), torch.zeros_like(right)
    start = 0
    while start < len(s) and s[start] > 0:
        stop = start + 1
        while stop < len(s) and s[stop] > 0 and s[stop - 1] - s[stop] <= eps**0.5 * s[0]:
            stop += 1
        here = slice(start, stop)
        axes = _axes(x[here])
        new[0][here], new[1][here] = (axes @ (s[here].sqrt()[:, None] * rows[here]) for rows in (x, y))
        start = stop
    rows = new[0] / a, new[1] / b
    length = [side.norm(dim=1, keepdim=True) for side in rows]
    t = torch.where(length[0] * length[1] > 0, (length[1] / length[0]).sqrt(), 1.0)
    return rows[0] * t, rows[1] / t


def _equal_lengths(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Return factors (n,) and (m,) that bring the rows and columns of leftᵀ right to equal length (Sinkhorn's iteration)."""

    def scales(side: Tensor, other: Tensor) -> Tensor:
        gram = other @ other.T
        length = (side * (gram @ side)).sum(0).clamp_min(0).sqrt()
        seen = length > 1e-7 * side.norm(dim=0) * torch.linalg.matrix_norm(gram, 2).sqrt()  # else rounding alone
        return torch.where(seen, 1 / length, 1.0)

    a, b = torch.ones(left.shape[1]).double(), torch.ones(right.shape[1]).double()
    for _ in range(SWEEPS):
        before, a = a, scales(left, right * b)
        b = scales(right, left * a)
        change = (a / before).log()
        if float((change - change.mean()).abs().max()) < 1e-13:
            break
    return a, b


def _axes(rows: Tensor) -> Tensor:
    """Return the rotation of orthonormal rows (k, n) under which the first columns that are large enough are its axes."""
    rest, axes = rows.clone(), []
    for _ in range(len(rows)):
        size = rest.norm(dim=0)
        column = int((size >= FIRST * size.max()).nonzero()[0])
        axis = rest[:, column] / size[column]
        axes.append(axis)
        rest = rest - torch.outer(axis, axis @ rest)
    return torch.stack(axes)
