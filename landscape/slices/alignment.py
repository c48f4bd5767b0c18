"""Reordering the hidden units of one solution to match another's, before interpolating."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from landscape.arguments import checked, seeded_generator
from landscape.errors import LandscapeError
from landscape.function.objective import Objective
from landscape.graphs.units.flow import follow_objective
from landscape.graphs.units.spaces import Use
from landscape.slices.paths import Solution, centred

MAX_SWEEPS = 100


@checked
def align(objective: Objective, a: Solution, b: Solution, *, seed: int = 0) -> Objective:
    r"""Return b with its hidden units in the order that brings its weights closest to a's.

    The order of hidden units is arbitrary, and two networks trained apart order them differently: a straight path
    between them mixes unrelated units. Each group of units in turn gets the permutation that solves

    .. math:: \max_\Pi \sum_{\text{uses}} \langle W^a, \Pi\, W^b \rangle

    over all weights that set or read those units, until no group improves (a local maximum: the joint problem is hard).

    Args:
        objective: the function; the network is traced on its first examples.
        a: the solution to match.
        b: the solution to reorder.
        seed: of the order in which groups are visited.

    Returns:
        The objective centred at the reordered b, the same function as b; pass it to `interpolate`.

    Raises:
        LandscapeError: the network cannot be traced, or has no hidden units that may be reordered.

    Source: Ainsworth, Hayase & Srinivasa 2023, "Git Re-Basin", arXiv 2209.04836, algorithm 1.

    >>> import torch, landscape as ls
    >>> from landscape.models import mlp
    >>> net = mlp((3, 4, 2))
    >>> objective = ls.Objective(net, (torch.ones(5, 3), torch.zeros(5, dtype=torch.long)), "cross_entropy")
    >>> shuffled = ls.transforms.permutation(net, torch.ones(2, 3)).model.state_dict()
    >>> torch.equal(align(objective, objective, shuffled).theta, objective.theta)
    True
    """
    start, end = centred(objective, a), centred(objective, b)
    units = follow_objective(objective).units
    groups = [group.distinct for group in units if not group.pinned and group.uses and group.size > 1]
    if not groups:
        raise LandscapeError("no hidden units of this network may be reordered, so there is nothing to align")
    fixed, moved = _tensors(start), _tensors(end)
    generator = seeded_generator(seed)
    for _ in range(MAX_SWEEPS):
        order = torch.randperm(len(groups), generator=generator).tolist()
        improved = [_improve(groups[k], fixed, moved) for k in order]
        if not any(improved):
            break
    theta = objective.space.flatten(moved)
    return end.at(theta).with_fixed({name: moved[name] for name in end.fixed})


def _tensors(objective: Objective) -> dict[str, Tensor]:
    """Return copies of all parameters and buffers by name."""
    named = {**objective.space.unflatten(objective.theta), **objective.fixed}
    return {name: tensor.detach().clone() for name, tensor in named.items()}


def _improve(uses: list[Use], fixed: dict[str, Tensor], moved: dict[str, Tensor]) -> bool:
    """Reorder one group of units of the moved solution; whether that brought it closer."""
    size = uses[0].size
    gain = torch.zeros(size, size, dtype=torch.float64)
    for use in uses:
        if not use.view.name.endswith(("running_mean", "running_var")):  # they move with the units but are not matched
            at = use.positions().to(moved[use.view.name].device)
            target, source = fixed[use.view.name].reshape(-1)[at], moved[use.view.name].reshape(-1)[at]
            gain += (target.double() @ source.double().T).cpu()
    _, order = linear_sum_assignment(gain.numpy(), maximize=True)
    better = float(gain[torch.arange(size), torch.as_tensor(order)].sum() - gain.diagonal().sum())
    if better <= 1e-9 * float(gain.abs().max()):
        return False
    for use in uses:
        flat = moved[use.view.name].view(-1)
        at = use.positions().to(flat.device)
        flat[at] = flat[at[torch.as_tensor(order, device=flat.device)]]
    return True
