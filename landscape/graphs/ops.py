"""What is known of PyTorch's operations: the one table to teach a new one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import Tensor, fx

Linear = Callable[[fx.Node, Callable[[int], bool]], bool]
"""Whether a node's value is affine in what moves, as ``moves(argument)`` tells; what moves in it being affine itself."""


@dataclass(frozen=True)
class Op:
    """Facts about one operation, of a network in evaluation mode.

    Attributes:
        moves: moves entries without changing them; dtype and device aside.
        elementwise: treats every entry alike and by itself.
        linear: in which of its tensor arguments it is linear; `None`: in none.
        homogeneous: for one that is elementwise: f(s·x) = s·f(x) for every s > 0.
        kinked: has points without a second derivative.
        cheap: running it again costs about one pass over its result. Views and pointwise operations are, whatever this says.
        flops: its floating-point operations; `None`: too few to count.
    """

    moves: bool = False
    elementwise: bool = False
    linear: Linear | None = None
    homogeneous: bool = False
    kinked: bool = False
    cheap: bool = False
    flops: Callable[[fx.Node], int] | None = None


def elements(node: Any) -> int:
    """Return the number of elements of a node's value."""
    value = node.meta.get("val")
    return value.numel() if isinstance(value, Tensor) else 0


def _shape(node: Any) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)


def _together(node: fx.Node, moves: Callable[[int], bool]) -> bool:
    """Linear in all tensor arguments together."""
    return True


def _product(first: int, second: int) -> Linear:
    """Linear in each of two arguments while the other stays fixed."""
    return lambda node, moves: not (moves(first) and moves(second))


def _same_type(node: fx.Node, moves: Callable[[int], bool]) -> bool:
    """Rounding to another type is not linear."""
    source: Any = node.args[0]
    return bool(node.meta["val"].dtype == source.meta["val"].dtype)


def _zeros(node: fx.Node, moves: Callable[[int], bool]) -> bool:
    return len(node.args) < 3 or bool(node.args[2] == 0)  # (x, widths, value)


def _frozen_norm(node: fx.Node, moves: Callable[[int], bool]) -> bool:
    return node.args[5] is False and not (moves(0) and moves(1))  # (x, weight, bias, mean, variance, training, …)


def _contraction(left: int) -> Callable[[fx.Node], int]:
    return lambda node: 2 * elements(node) * _shape(node.args[left])[-1]


def _convolution(node: fx.Node) -> int:
    inputs, weight, transposed = node.args[0], node.args[1], node.args[6]
    return 2 * prod(_shape(weight)[1:]) * (elements(inputs) if transposed else elements(node))


def _pools(kinds: str, dimensions: str = "123", suffix: str = "") -> str:
    return " ".join(f"{kind}{n}d{suffix}" for kind in kinds.split() for n in dimensions)


_TABLE: tuple[tuple[str, Op], ...] = (
    # entries are moved, or handed on
    (
        "view reshape _unsafe_view flatten unflatten squeeze unsqueeze permute transpose t numpy_T movedim "
        "slice select narrow unbind chunk split split_with_sizes tensor_split expand expand_as getitem",
        Op(moves=True, linear=_together),
    ),
    ("alias contiguous detach lift_fresh_copy", Op(moves=True, elementwise=True, linear=_together)),
    ("clone", Op(moves=True, elementwise=True, linear=_together, cheap=True)),
    ("to _to_copy", Op(moves=True, elementwise=True, linear=_same_type, cheap=True)),
    ("cat stack", Op(linear=_together, cheap=True)),
    ("repeat", Op(cheap=True)),
    # linear
    ("neg dropout feature_dropout alpha_dropout", Op(elementwise=True, linear=_together)),
    ("mean sum", Op(linear=_together)),
    (_pools("avg_pool adaptive_avg_pool") + " " + _pools("_adaptive_avg_pool", "23"), Op(linear=_together)),
    ("add sub", Op(linear=_together)),
    ("mul", Op(elementwise=True, linear=_product(0, 1))),
    ("div", Op(elementwise=True, linear=lambda node, moves: not moves(1))),
    ("mm bmm", Op(linear=_product(0, 1), flops=_contraction(0))),
    ("addmm baddbmm", Op(linear=_product(1, 2), flops=_contraction(1))),
    ("embedding", Op(linear=_product(0, 1))),
    ("convolution", Op(linear=_product(0, 1), flops=_convolution)),
    ("native_batch_norm", Op(linear=_frozen_norm)),
    ("constant_pad_nd", Op(linear=_zeros, cheap=True)),
    # activations, extremes
    ("relu leaky_relu rrelu abs", Op(elementwise=True, homogeneous=True, kinked=True)),
    ("threshold hardtanh relu6 hardswish hardsigmoid selu softshrink hardshrink", Op(elementwise=True, kinked=True)),
    (
        "gelu tanh silu sigmoid softplus elu celu mish log_sigmoid exp log sin cos erf sqrt rsqrt pow square reciprocal",
        Op(elementwise=True),
    ),
    ("prelu clamp clamp_min clamp_max maximum minimum amax amin", Op(kinked=True)),
    (_pools("max_pool adaptive_max_pool") + " " + _pools("max_pool", suffix="_with_indices"), Op(kinked=True)),
    # attention, and what a convolution on a CPU is compiled as
    (
        "_scaled_dot_product_flash_attention_for_cpu",
        Op(flops=lambda node: 4 * prod(_shape(node.args[0])) * _shape(node.args[1])[-2]),
    ),
    ("_convolution_pointwise", Op(flops=lambda node: 2 * prod(_shape(node.args[1])[1:]) * elements(node))),
    # values from nothing
    ("full full_like ones_like zeros_like new_zeros scalar_tensor arange", Op(cheap=True)),
)

OPS: dict[str, Op] = {name: op for names, op in _TABLE for name in names.split()}
"""Facts by the name of an operation. A name that is missing has none: it may not be cut, moved, scaled or run again."""

UNKNOWN = Op()


def operation(node: fx.Node) -> str:
    """Return the name of a node's operation, such as ``conv2d`` or ``getitem``, without the mark of in-place ones."""
    if node.op != "call_function":
        return node.op
    packet = getattr(node.target, "overloadpacket", node.target)
    return str(getattr(packet, "__name__", packet)).rstrip("_")


def facts(node: fx.Node) -> Op:
    """Return what is known of a node's operation."""
    return OPS.get(operation(node), UNKNOWN)


def flops(node: fx.Node) -> int:
    """Return the floating-point operations of a matrix product or convolution, 0 for anything else."""
    count = facts(node).flops
    return count(node) if count is not None else 0
