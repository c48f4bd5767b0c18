"""T6: a change of basis inside each attention head."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from landscape.arguments import seeded_generator
from landscape.errors import LandscapeError
from landscape.graphs.exported import Inputs
from landscape.graphs.units.factors import Product, find_products
from landscape.transforms.apply import Transformed, duplicate, finish, positive


def gl_attention(model: nn.Module, example_inputs: Inputs, *, alpha: float = 1.0, seed: int = 0) -> Transformed:
    r"""Multiply the two factors of every product of weight matrices by an invertible matrix and by its inverse.

    Queries and keys of a head enter attention only as $q^\top k$, so that $W_Q \to A^{-\top} W_Q$, $W_K \to A W_K$,
    with their biases, preserves it for any $A \in GL(h)$; likewise values and output, $W_V \to B W_V$,
    $W_O \to W_O B^{-1}$, and two linear layers without anything between, such as LoRA's factors. Heads that share keys
    or values share A or B. Scores invariant to rescaling need not be invariant to this.

    Args:
        model, example_inputs: as every transformation takes them.
        alpha: A is alpha times a Gaussian matrix of unit variance per column, redrawn until well conditioned.
        seed: of the matrices.

    Returns:
        The new network and the largest change of its predicted probabilities.

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
    products = find_products(model, example_inputs)
    if not products:
        raise LandscapeError(
            "GL(h) has no valid place in this network: it needs attention whose queries, keys and values come straight "
            "from linear layers, or two linear layers in a row."
        )
    clone, tensors = duplicate(model)
    generator = seeded_generator(seed)
    for product in products:
        matrix = alpha * well_conditioned(product.width, generator)
        _transform(tensors, product, matrix)
    where = (name for product in products for name in product.modules)
    return finish(model, clone, "GL(h)", example_inputs, where)


def well_conditioned(width: int, generator: torch.Generator) -> Tensor:
    """Draw a Gaussian matrix (width, width) over √width, in float64, whose condition number is at most 10·width."""
    while True:
        matrix = torch.randn(width, width, generator=generator, dtype=torch.float64) / width**0.5
        if torch.linalg.cond(matrix) <= 10 * width:
            return matrix


def _transform(tensors: dict[str, Tensor], product: Product, matrix: Tensor) -> None:
    inverse = torch.linalg.inv(matrix)
    for name, positions in product.left:
        _multiply(tensors, name, positions, matrix)
    for name, positions in product.right:
        _multiply(tensors, name, positions, inverse.T)


def _multiply(tensors: dict[str, Tensor], name: str, positions: Tensor, matrix: Tensor) -> None:
    """Replace the rows (width, entries) at those flat positions by matrix @ rows."""
    tensor = tensors[name]
    where = positions.to(tensor.device)
    flat = tensor.reshape(-1).clone()
    flat[where] = (matrix.to(tensor.device) @ flat[where].double()).to(flat.dtype)
    tensor.copy_(flat.reshape(tensor.shape))
