"""What an optimiser is doing: its steps, its momentum, its preconditioner, and the curvature at which it turns unstable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from landscape.errors import LandscapeError, NotDefinedError
from landscape.scores.stability import threshold

_SECOND_MOMENT = {"Adam": "exp_avg_sq", "AdamW": "exp_avg_sq", "NAdam": "exp_avg_sq", "RMSprop": "square_avg"}
"""Where `torch.optim` keeps the mean of squared gradients, by class."""


@dataclass(frozen=True, eq=False)
class StepRule:
    r"""How an optimiser steps now: :math:`\theta \leftarrow \theta - \eta\,P^{-1} m`.

    Attributes:
        rule: ``sgd``, ``heavy ball``, ``nesterov``, ``adam``, or the optimiser's class where its stability is not known.
        lr: η, the learning rate of the first parameter group.
        momentum: β, or β₁ of Adam.
        preconditioner: the diagonal of P (P,), in float64; `None` where it is the identity. Groups with learning rates of
            their own count here, as η/η_group.
        threshold: the largest eigenvalue of P^{-1/2} H P^{-1/2} at which full-batch steps stay stable on a quadratic;
            `None` where it is not known.
    """

    rule: str
    lr: float
    momentum: float
    preconditioner: Tensor | None
    threshold: float | None


def step_rule(optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor], names: Sequence[str]) -> StepRule:
    """Read learning rate, momentum and preconditioner of an optimiser of `torch.optim`, as they are now.

    Args:
        optimizer: any optimiser; wrappers that hold one as ``.optimizer`` are looked into.
        parameters: the network's own parameters by name.
        names: which of them make up theta, in order.

    Raises:
        LandscapeError: a selected parameter is not among the optimiser's.

    >>> w = torch.nn.Parameter(torch.ones(2))
    >>> step_rule(torch.optim.SGD([w], lr=0.5, momentum=0.5), {"w": w}, ["w"]).threshold  # (2 + 2·0.5)/0.5
    6.0
    """
    optimizer = getattr(optimizer, "optimizer", optimizer)
    groups = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    missing = [name for name in names if id(parameters[name]) not in groups]
    if missing:
        raise LandscapeError(
            f"the optimiser does not hold {', '.join(missing[:3])}; pass the optimiser that trains this model, or "
            "parameters= to track what it trains"
        )
    first: dict[str, Any] = groups[id(parameters[names[0]])]
    lr, kind = float(first["lr"]), type(optimizer).__name__
    rates = {id(group): float(group["lr"]) for group in groups.values()}
    scaled = any(rate != lr for rate in rates.values())
    moment = _SECOND_MOMENT.get(kind) if optimizer.state else None  # before the first step there is none
    preconditioner = None
    if moment is not None or scaled:
        parts = []
        for name in names:
            parameter = parameters[name]
            group = groups[id(parameter)]
            part = torch.full((parameter.numel(),), lr / max(rates[id(group)], 1e-300), dtype=torch.float64)
            if moment is not None:
                part = part * _root(optimizer.state.get(parameter, {}), group, moment, parameter).cpu()
            parts.append(part)
        preconditioner = torch.cat(parts)
    if kind == "SGD":
        momentum = float(first["momentum"])
        rule = "sgd" if momentum == 0 else "nesterov" if first["nesterov"] else "heavy ball"
    elif kind in ("Adam", "AdamW"):
        rule, momentum = "adam", float(first["betas"][0])
    elif kind == "RMSprop":
        momentum = float(first["momentum"])
        rule = "heavy ball" if momentum else "sgd"
    else:
        return StepRule(kind, lr, float(first.get("momentum", 0.0) or 0.0), preconditioner, None)
    return StepRule(rule, lr, momentum, preconditioner, threshold(lr, momentum, rule=rule) if lr > 0 else None)


def _root(state: Mapping[str, Any], group: Mapping[str, Any], moment: str, parameter: Tensor) -> Tensor:
    """Return √v̂ + ε of one parameter, flat, with the bias correction that the optimiser makes."""
    second = state.get("max_exp_avg_sq", state.get(moment))
    if second is None:
        raise NotDefinedError(
            "the optimiser has no second moments of a parameter that has had no gradient: leave it out"
        )
    second = second.detach().double().reshape(-1)
    if moment == "exp_avg_sq":
        second = second / (1 - group["betas"][1] ** float(state["step"]))
    if group.get("centered") and "grad_avg" in state:
        second = second - state["grad_avg"].detach().double().reshape(-1).square()
    return second.clamp_min(0).sqrt() + group["eps"]
