"""Auto-PGD: projected gradient ascent with momentum whose step halves when progress stalls."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

import torch
from torch import Tensor

Evaluate = Callable[[Tensor], tuple[Tensor, Tensor]]
Map = Callable[[Tensor], Tensor]

MOMENTUM = 0.75


def checkpoints(iterations: int) -> list[int]:
    """Return the iterations after which the step is reconsidered: ⌈p_j N⌉ with p_1 = 0.22 and shrinking gaps ≥ 0.06.

    >>> checkpoints(20)
    [5, 9, 12, 15, 16, 18, 19, 20]
    """
    before, now, found = 0.0, 0.22, []
    while now <= 1.0:
        # in floating point p_4 = 0.7000000000000001, so that N = 20 gives 15 as in the published code
        found.append(ceil(now * iterations))
        before, now = now, now + max(now - before - 0.03, 0.06)
    return list(dict.fromkeys(found))


def maximize(
    evaluate: Evaluate, ascent: Map, project: Map, start: Tensor, step: float, *, iterations: int = 20
) -> tuple[Tensor, Tensor, Tensor]:
    """Maximise a function over a convex set, as far as a fixed number of gradients goes.

    One step is ``z = project(x + step·ascent(g))``, then ``x ← ¾ z + ¼ x_previous``. At each checkpoint the step halves
    when fewer than ¾ of the iterations since the last one improved, or when neither step nor best value changed there;
    perturbation, its predecessor and gradient then restart from the best point together. Nothing waits for the device.

    Args:
        evaluate: ``x -> (value, gradient)``.
        ascent: turns a gradient into a direction of ascent of unit size in the geometry of the set.
        project: maps a point to the nearest one of the set.
        start: first point, in the set.
        step: first step length.
        iterations: number of steps, each with one gradient.

    Returns:
        Value at the start, the largest value met, and the point where it was met. Several functions are maximised at once where
        points are (K, P) and values (K,).

    Source: Croce and Hein 2020 (arXiv 2003.01690), Algorithm 1, with the momentum of Andriushchenko et al. 2023.
    """
    x = previous = best_x = start
    value, gradient = evaluate(x)
    initial = best = best_at_checkpoint = value
    best_gradient = gradient
    size = torch.full_like(value, step)[..., None]
    improved = torch.zeros_like(value)
    halved_before = torch.zeros_like(value, dtype=torch.bool)
    marks, last = set(checkpoints(iterations)), 0
    for iteration in range(1, iterations + 1):
        ahead = project(x + size.to(x) * ascent(gradient))
        x, previous = torch.lerp(previous, ahead, MOMENTUM), x
        value, gradient = evaluate(x)
        better = value > best
        best = torch.where(better, value, best)
        rows = better[..., None]
        best_x, best_gradient = torch.where(rows, x, best_x), torch.where(rows, gradient, best_gradient)
        improved = improved + better
        if iteration in marks:
            stalled = improved < 0.75 * (iteration - last)
            stuck = ~halved_before & (best_at_checkpoint >= best)
            halve = stalled | stuck
            rows = halve[..., None]
            size = torch.where(rows, size / 2, size)
            x, previous = torch.where(rows, best_x, x), torch.where(rows, best_x, previous)
            gradient = torch.where(rows, best_gradient, gradient)
            halved_before, best_at_checkpoint = halve, best
            improved, last = torch.zeros_like(improved), iteration
    return initial, best, best_x
