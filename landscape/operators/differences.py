"""Hessian products by differences of gradients, and exact ones against them: symmetry does not see that a term is missing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from landscape.arguments import expect_objective
from landscape.errors import LandscapeError, NumericalError
from landscape.function.objective import Objective
from landscape.operators.base import Operator
from landscape.operators.failures import custom_functions

CHECKED = 8
"""Examples on which products are compared: few, so that hardly a kink is passed."""

SLACK = {torch.float64: 1e-6, torch.float32: 1e-2}
"""Relative difference that is rounding, by dtype; others are not compared."""

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")

_CUTS = {name: f"{name}()" for name in ("detach", "detach_", "item", "tolist", "numpy", "__float__")}
_CUTS |= {"data": ".data", "register_hook": "a hook"}


class FiniteDifferenceHessian(Operator):
    r"""Central differences of the gradient: not exact, for who asks for it.

    .. math:: Hv \approx \frac{\nabla L(\theta + h v) - \nabla L(\theta - h v)}{2h},
              \qquad h = \varepsilon^{1/3}\,\frac{1 + \lVert\theta\rVert}{\lVert v\rVert}

    Needs first derivatives only, and costs 2 gradients. Its error is about ε^{2/3} of the largest eigenvalue: 1e-5 in float32,
    1e-10 in float64. Near the kinks of ReLU it sees curvature that the exact Hessian leaves out.

    Args:
        objective: The loss L as a function of theta.
        step: Length ‖h v‖ of the step; `None`: as above.

    >>> import torch, landscape as ls
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> objective = ls.Objective(model, (torch.eye(2), torch.zeros(2, 1)), "mse_loss", dtype=torch.float64)
    >>> (ls.operators.FiniteDifferenceHessian(objective) @ torch.tensor([1.0, 2.0]).double()).round(decimals=6)
    tensor([1., 2.], dtype=torch.float64)
    """

    name = "Hessian by finite differences"

    def __init__(self, objective: Objective, *, step: float | None = None):
        if step is not None and not step > 0:
            raise LandscapeError(f"step is {step}, expected a length above 0")
        expect_objective(objective, self.name)
        self.objective = objective
        theta = objective.theta
        self.size, self.dtype, self.device = objective.size, objective.dtype, theta.device
        self.world = objective.world
        scale = torch.finfo(self.dtype).eps ** (1 / 3) * (1 + float(self.world.norm(theta.double())))
        self.step = scale if step is None else step

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What identifies the operator, as stored with results."""
        return {**self.objective.provenance(), "operator": self.name, "step": self.step}

    def multiply(self, V: Tensor) -> Tensor:
        """Return the differences along each column (P, K) in float64."""
        return torch.stack([self._along(v.double()) for v in V.T], dim=1)

    def _along(self, v: Tensor) -> Tensor:
        norm = float(self.world.norm(v))
        if norm == 0:
            return v
        theta, h = self.objective.theta.double(), self.step / norm
        ahead, behind = (theta + sign * h * v for sign in (1, -1))
        difference = self._gradient(ahead) - self._gradient(behind)
        return difference / (2 * h)

    def _gradient(self, theta: Tensor) -> Tensor:
        return self.objective.gradient(theta.to(self.dtype)).double()


def few(objective: Objective) -> Objective:
    """Return the objective on a few examples; whole where examples depend on one another or cannot be cut."""
    mine = objective.mine
    return mine if mine.coupled or mine.batches.uncut else mine.subset(range(min(CHECKED, mine.n)))


def doubts(objective: Objective) -> str:
    """Return what in the network or the loss may hide a term of the second derivative from PyTorch; empty if nothing.

    These are custom autograd functions, script modules, hooks, and values that are cut off the graph, as straight-through
    estimators do. Costs a forward pass on the first batch.
    """
    modules = list(objective.network.modules())
    found = ["a script module"] if any(isinstance(module, torch.jit.ScriptModule) for module in modules) else []
    found += ["a hook"] if any(_is_hooked(module) for module in modules) else []
    with objective.guard(second=True), torch.enable_grad(), _Cut() as cut:
        custom = custom_functions(objective.batch_value(objective.theta.requires_grad_(), objective.batches[0]))
    return ", ".join([*found, *([custom] if custom else cut.names)])  # the code of custom functions runs off the graph


def difference(objective: Objective, product: Callable[[Tensor], Tensor]) -> tuple[float, bool]:
    """Return how far a product is from the difference of gradients, relative to it, and whether that is more than rounding.

    NaN where rounding and kinks hide it, as they do in float32 where ReLUs switch.

    Kinks do not disturb it: across one, the differences of gradients over two steps disagree with each other. Where the gradient
    is exactly zero the vector is, too: such entries may be constants, as the embedding of a padding token is. Costs 2 gradients
    and a product (v ↦ H v by the program in question); 3 gradients more where these differ.
    """
    v = objective.world.normal(objective.size, torch.Generator().manual_seed(0)).to(objective.device, objective.dtype)
    norm, slack = objective.world.norm, SLACK[objective.dtype]

    def distance(a: Tensor, b: Tensor) -> float:
        size = float(norm(a.double()))
        return float(norm(a.double() - b.double())) / size if size else float(bool(b.any()))

    coarse = FiniteDifferenceHessian(objective)
    off = distance(coarse @ v, product(v))
    if off <= slack:
        return off, False
    free = objective.gradient() != 0
    v = v * free if bool(free.any()) else v
    fine, exact = FiniteDifferenceHessian(objective, step=coarse.step / 8) @ v, product(v)
    off = distance(fine, exact)
    if off > slack + 10 * distance(fine, coarse @ v):
        return off, True
    return off if off <= slack else math.nan, False


def require_derivative(objective: Objective, product: Callable[[Tensor], Tensor], why: str) -> float:
    """Return the relative difference; raise where a product is not the derivative of the gradient.

    Raises:
        NumericalError: it is not; the message names what may be the cause.
    """
    off, wrong = difference(objective, product)
    if wrong:
        raise NumericalError(
            f"products with the Hessian are not differences of gradients (off by {off:.2g}): {why or 'an operation'} drops a "
            "term of its second derivative; write it with differentiable operations of its inputs, or use "
            "ls.operators.FiniteDifferenceHessian; check=False takes the products as they are"
        )
    return off


def _is_hooked(module: nn.Module) -> bool:
    return any(getattr(module, hooks, None) for hooks in _HOOKS)


class _Cut(TorchFunctionMode):
    """Notes what takes values that depend on theta off the graph, or changes gradients on their way."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Note the operation, and run it."""
        result, name = func(*args, **(kwargs or {})), getattr(func, "__name__", "")
        if name == "__get__":
            name = getattr(func.__self__, "__name__", "")
        cuts = name in _CUTS or (not torch.is_grad_enabled() and isinstance(result, Tensor))
        if cuts and any(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in tree_leaves((args, kwargs))):
            what = _CUTS.get(name, "torch.no_grad()")
            self.names += [what] if what not in self.names else []
        return result
