"""Transformations of a network: those that keep its function (T1–T6), temperature (T7), gauges, folding, normalising.

A score that changes when the function does not is a property of the parametrisation. Each transformation takes a network,
of which it transforms a copy, and example inputs, a tensor (N, …) or a tuple of the forward pass's arguments. It returns a
new network with the largest change of its predicted probabilities, finds the places where it is valid by following the
hidden units through the traced network, and refuses where there is none.

==  ======================  ==========================================================
T1  `layer_scale`           one layer up, the next down (Dinh et al. 2017)
T2  `node_scale`            the same for each hidden unit
T3  `norm_layer_scale`      weights in front of a norm layer
T4  `permutation`           another order of the hidden units
T5  `softmax_shift`         all logits of an example moved alike; undone by `gauge_fix`
T6  `gl_attention`          a change of basis inside each attention head; undone by `fix_factors`
T7  `temperature`           logits multiplied: decisions kept, confidence not
==  ======================  ==========================================================
"""

from landscape.transforms.apply import Transformed
from landscape.transforms.factors import fix_factors, gl_attention
from landscape.transforms.head import gauge_fix, softmax_shift, temperature
from landscape.transforms.hidden_units import (
    fold_batch_norm,
    layer_scale,
    node_scale,
    norm_layer_scale,
    permutation,
    places,
)
from landscape.transforms.logits import LogitNormalized, normalize_logits, normalized_cross_entropy

__all__ = [
    "LogitNormalized",
    "Transformed",
    "fix_factors",
    "fold_batch_norm",
    "gauge_fix",
    "gl_attention",
    "layer_scale",
    "node_scale",
    "norm_layer_scale",
    "normalize_logits",
    "normalized_cross_entropy",
    "permutation",
    "places",
    "softmax_shift",
    "temperature",
]
