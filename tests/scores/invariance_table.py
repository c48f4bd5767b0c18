"""The published invariance and temperature tables: which scores they hold, and the networks they are measured on.

The network is a ReLU MLP 6-5-4-3 with biases (74 parameters) on 60 examples; its weights, at cross-entropy 0.136 and
2.4e-4, are in ``networks.npz``. T1 multiplies a layer by 5, T2 rescales nodes by exp U(−1.5, 1.5), T4 permutes, T5 shifts
all logits by N(0, 1) vectors, T7 doubles or quadruples the logits. `docs/make_tables.py` writes the tables.
"""

from pathlib import Path

import numpy as np
import torch

import landscape as ls
from landscape import transforms
from landscape.operators import Hessian, scaled
from landscape.scores.audit import reindexed
from landscape.scores.curvature import spectrum
from landscape.scores.functionals import Case, mean_rise
from landscape.scores.perturbations import Noise, ones, weights

DENSE = {"max_matvecs": 100}


def by_name(slug, **options):
    def value(objective):
        rows = ls.scores.REGISTRY[slug].compute(objective, **options)
        return [row.value for row in rows if row.name == slug][-1]

    return value


def first_order(scale):
    return lambda o: float((scale(o.theta) * o.gradient()).abs().sum())


def biases_alone(objective):
    """λmax of D H D with D = |w| on weights and 1 on biases, as in published code."""
    d = objective.theta.abs()
    for name, where in objective.space.slices.items():
        if name.endswith("bias"):
            d[where] = 1.0
    return float(spectrum(scaled(Hessian(objective), d))[-1])


def norm_times_trace(power):
    def value(objective):
        weight = objective.space.unflatten(objective.theta)["linear2.weight"]
        return float(weight.norm() ** power * Hessian(objective).block("linear2.weight").dense().trace())

    return value


def along(normalize):
    def value(objective):
        d = ls.random_directions(objective, n=1, normalize=normalize, vectors="zero", seed=0).vectors[0]
        d = torch.from_numpy(d).to(objective.theta)
        return float(d @ (Hessian(objective) @ d))

    return value


def element_direction(objective):
    d = objective.theta.abs() * torch.randn(objective.size, generator=torch.Generator().manual_seed(0)).sign().double()
    return float(d @ (Hessian(objective) @ d))


def whole_renyi(objective):
    from landscape.scores.more.spectral_summaries import renyi_of

    return renyi_of(spectrum(Hessian(objective)), 0.5)


def whole_snr(objective):
    return 1 / by_name("noise-scale")(objective)


def trace_of_tic(objective):
    return by_name("gradient-covariance")(objective) / by_name("trace", matvecs=100)(objective)


def average(scale):
    return lambda o: mean_rise(Case(o, Noise(o, scale)), [0.05], pairs=50, seed=0)[0].value


TABLE = {
    # name: (score, the transformations that move it)
    "λmax(H)": (by_name("lambda-max", **DENSE), "T1 T2"),
    "Tr H": (by_name("trace", matvecs=100), "T1 T2"),
    "Frobenius norm of H": (by_name("frobenius", matvecs=100), "T1 T2"),
    "gradient norm": (by_name("gradient-norm"), "T1 T2"),
    "Tr C": (by_name("gradient-covariance"), "T1 T2"),
    "Tr C / Tr H": (trace_of_tic, "T1 T2"),
    "Tr(F⁺C)": (by_name("tic"), ""),
    "soft rank, z = 1e-3": (by_name("soft-rank"), "T1 T2"),
    "wᵀHw": (by_name("weight-curvature"), ""),
    "Σ w_i² H_ii": (by_name("adaptive-trace", matvecs=100, gauge=False), "T5"),
    "λmax(D H D)": (by_name("adaptive-lambda-max", gauge=False, **DENSE), "T5"),
    "λmax(D H D), weights plus 0.01": (by_name("adaptive-lambda-max", eta=0.01, gauge=False, **DENSE), "T5 (T1 T2)"),
    "λmax(D H D), biases not rescaled": (biases_alone, "T1 T2 T5"),
    "first-order adaptive ℓ∞": (first_order(torch.abs), "T5"),
    "first-order Keskar box": (first_order(lambda w: w.abs() + 1), "T1 T2 (T5)"),
    "Fisher–Rao wᵀFw": (by_name("fisher-rao"), ""),
    "relative flatness, raw": (by_name("relative-flatness-raw"), "T2"),
    "relative flatness, features normalised": (by_name("relative-flatness"), ""),
    "‖W‖² Tr H_W, one hidden layer": (norm_times_trace(2), "T2"),
    "‖W‖ Tr H_W": (norm_times_trace(1), "T1 T2"),
    "Rényi, layer-wise": (by_name("renyi-sharpness"), "T2"),
    "Rényi, whole network": (whole_renyi, "T1 T2"),
    "dᵀHd, filter-normalised": (along("filter"), "T2 T5"),
    "dᵀHd, layer-normalised": (along("layer"), "T2 T5"),
    "dᵀHd, |d| = |w|": (element_direction, "T5"),
    "gradient SNR, per layer": (by_name("gradient-snr"), "T2"),
    "gradient SNR, whole network": (whole_snr, "T1 T2"),
    "average sharpness, N(0, s²)": (average(ones), "T1 T2"),
    "average sharpness, element-wise adaptive": (average(weights), "T5"),
    "symmetrised adaptive worst case ℓ∞, normalised logits": (by_name("adaptive-worst-symmetric"), ""),
    "adaptive average case, normalised logits": (by_name("adaptive-average"), ""),
    "1/σ′², 0–1 error": (by_name("inverse-sigma-mag"), ""),
    "1/σ², 0–1 error": (by_name("inverse-sigma"), "T1 T2 (T5)"),
}
"""Which transformation moves which score by more than 5 %; one in brackets moves it, but by less on this network."""

LOGARITHMS = ("Rényi, layer-wise", "Rényi, whole network")
"""Scores in nats, whose differences are shown instead of ratios, and 0.05 nat is what counts as moved."""


LOWER = (1e-3, 1e-2), (1e-9, 1e-5)
KEPT = ((1 - 1e-6, 1 + 1e-6),) * 2
TEMPERATURE = {
    # name: (score, bounds of the ratio at doubled logits, bounds at fourfold logits)
    "λmax(H)": (TABLE["λmax(H)"][0], *LOWER),
    "Σ w_i² H_ii": (TABLE["Σ w_i² H_ii"][0], *LOWER),
    "λmax(D H D)": (TABLE["λmax(D H D)"][0], *LOWER),
    "Fisher–Rao": (TABLE["Fisher–Rao wᵀFw"][0], *LOWER),
    "relative flatness": (TABLE["relative flatness, features normalised"][0], *LOWER),
    "filter-normalised curvature": (TABLE["dᵀHd, filter-normalised"][0], *LOWER),
    "Tr(F⁺C)": (TABLE["Tr(F⁺C)"][0], (1e-4, 1e-2), (1e-10, 1e-3)),
    "margin": (by_name("margin-normalized"), (1 - 1e-9, 1 + 1e-9), (1 - 1e-9, 1 + 1e-9)),
    "symmetrised adaptive worst case, normalised logits": (by_name("adaptive-worst-symmetric"), *KEPT),
    "adaptive average, normalised logits": (by_name("adaptive-average"), *KEPT),
    "1/σ′², 0–1 error": (by_name("inverse-sigma-mag"), *KEPT),
}


def load(which):
    """Return the shipped network ``learning`` or ``interpolating`` as an objective, and its transformed copies by name."""
    stored = np.load(Path(__file__).parent / "networks.npz")
    X, y = torch.from_numpy(stored["X"]).double(), torch.from_numpy(stored["y"]).long()
    model = ls.models.mlp((6, 5, 4, 3)).double()
    torch.nn.utils.vector_to_parameters(torch.from_numpy(stored[which]).double(), model.parameters())
    objective = ls.Objective(model, (X, y), "cross_entropy")
    moved = {
        "T1": transforms.layer_scale(model, X, alpha=5.0),
        "T2": transforms.node_scale(model, X, seed=4),
        "T4": transforms.permutation(model, X, seed=0),
        "T5": transforms.softmax_shift(model, X, seed=0),
        "t=2": transforms.temperature(model, X, t=2.0),
        "t=4": transforms.temperature(model, X, t=4.0),
    }
    assert max(moved[t].change for t in ("T1", "T2", "T4", "T5")) < 1e-10
    there = {name: objective.at(t.model.state_dict()) for name, t in moved.items()}
    there["T4"] = reindexed(there["T4"], moved["T4"].mapping)
    return objective, there
