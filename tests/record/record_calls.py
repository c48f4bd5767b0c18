"""What is called on every network, and what is called once."""

from __future__ import annotations

import operator
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import torch
from record_networks import draw
from scipy.special import expit

import landscape as ls
from landscape import comparison, datasets, scores, slices, spectra, statistics, transforms
from landscape.operators import FiniteDifferenceHessian, rayleigh_quotients


def experiment(name: str) -> Any:
    """Return a public name of the experiments, wherever they live."""
    return getattr(import_module("landscape.experiments"), name)


# --- on every network -------------------------------------------------------------------------------------------------


def objective(note, case):
    o = case.objective
    near = o.theta + 0.01 * case.vector
    for name in ("theta", "n", "names", "task", "likelihood", "reduction", "loss_name", "graded", "fixed", "targets"):
        note(name, getattr, o, name)
    for name in ("loss", "gradient", "value_and_gradient", "evaluate", "outputs", "per_example"):
        note(name, getattr(o, name))
        note(f"{name} nearby", getattr(o, name), near)
    for name, change in {
        "at weights": lambda: o.at(case.init),
        "at vector": lambda: o.at(near),
        "subset": lambda: o.subset([3, 0, 5]),
        "rebatch": lambda: o.rebatch(3),
        "recalibrated": o.recalibrated,
        "on": lambda: o.on(case.test),
        "normalised logits": lambda: o.with_loss(transforms.normalized_cross_entropy),
        "training mode": lambda: ls.Objective(case.model, case.data, case.loss, mode="train", **case.options),
        "weights only": lambda: ls.Objective(case.model, case.data, case.loss, parameters="*weight", **case.options),
    }.items():
        if other := note(name, change):
            note(f"{name}: gradient", other.gradient)
    note(
        "metrics", lambda: ls.Objective(case.model, case.data, case.loss, metrics={"l1": l1}, **case.options).evaluate()
    )
    note("checkpoint: test", lambda: case.checkpoint.objective("test").evaluate())
    note("checkpoint: as trained", lambda: case.checkpoint.objective(recalibrated=False))
    note("checkpoint: distance", case.checkpoint.distance_from_init)
    note("critical point", ls.critical_point, o, max_matvecs=30, steps=10)
    note("sampling error", scores.sampling_error, o, 2, groups=8, probes=2, draws=20)


def l1(output, target):
    return output.abs().mean()


OPERATORS = {
    "Hessian": ls.Hessian,
    "Gauss-Newton": ls.GaussNewton,
    "Fisher": ls.Fisher,
    "sampled Fisher": partial(ls.Fisher, samples=2, seed=3),
    "empirical Fisher": ls.EmpiricalFisher,
    "gradient covariance": ls.GradientCovariance,
    "finite differences": FiniteDifferenceHessian,
}


def operators(note, case):
    o, v = case.objective, case.vector
    V, d = torch.stack([v, v.flip(0), v.abs()], dim=1), o.theta.abs()
    for name, make in OPERATORS.items():
        A = note(name, make, o)
        if A is None or note(f"{name}: product", operator.matmul, A, v) is None:
            continue
        note(f"{name}: products", operator.matmul, A, V.numpy())
        note(f"{name}: quotients", rayleigh_quotients, A, V.T)
        if name == "finite differences":
            continue
        note(f"{name}: plan", lambda A=A: A.plan)
        note(f"{name}: block", lambda A=A: A.block(o.names[-2:]).dense())
        note(f"{name}: layers", lambda A=A: A.block_diagonal() @ v)
        note(f"{name}: tensors", lambda A=A: A.block_diagonal("parameter") @ v)
        for program in ("kept", "split", "recompute"):
            B = note(f"{name}: {program}", make, o, program=program)
            note(f"{name}: {program} product", operator.matmul, B, v)
    H, G = ls.Hessian(o), ls.GaussNewton(o)
    note("dense", H.dense)
    note("check", H.check)
    note("scaled", lambda: ls.scaled(H, d) @ v)
    note("arithmetic", lambda: (0.5 * H - G * 2 + -H) @ v)
    note("arithmetic: block", lambda: (H + G).block(o.names[0]).dense())
    note("scipy", lambda: H.to_scipy().matvec(v.numpy()))
    note("few bytes", lambda: ls.Hessian(o, program="split", keep="fewest", coalesce=False) @ v)
    note("other batches", lambda: ls.Hessian(o.rebatch(5), memory=1) @ v)


def spectrum(note, case):
    H, v = ls.Hessian(case.objective), case.vector
    pairs = note("LA", ls.top_eigenpairs, H, 3)
    for which in ("LM", "SA", "BE"):
        note(which, ls.top_eigenpairs, H, 2, which, tol=1e-5)
    note("block", ls.top_eigenpairs, H, 2, method="block", block_size=2, seed=1)
    note("few products", ls.top_eigenpairs, H, 3, max_matvecs=8, vectors=False, verify=False)
    note("deflated", ls.top_eigenpairs, H, 1, deflate=pairs, start=v)
    for name in ("Gauss-Newton", "empirical Fisher"):
        note(name, lambda name=name: ls.top_eigenpairs(OPERATORS[name](case.objective), 2))
    note("outlier edge", spectra.outlier_edge, pairs)
    rho = note("density", ls.spectral_density, H, probes=3, steps=12)
    note("density, deflated", ls.spectral_density, H, probes=2, steps=8, deflate=pairs, axis="log", points=50)
    note("resmoothed", spectra.resmooth, rho, width=0.1, points=40)
    for name in ("negative", "positive"):
        note(f"mass {name}", spectra.mass, rho, name)
    note("moment", spectra.moment, rho, 2)
    note("sum", spectra.spectral_sum, rho, np.tanh, "sum of tanh")
    G = note("Gauss-Newton density", lambda: ls.spectral_density(ls.GaussNewton(case.objective), probes=3, steps=10))
    note("effective dimension", spectra.effective_dimension, G, 0.1)
    note("log-determinant", spectra.log_determinant, G, 0.1)
    note("entropy", spectra.renyi_entropy, G, 0.5)
    note("bulk edge", spectra.bulk_edge, rho)
    for method in ("hutchinson", "hutch++", "xtrace", "xnystrace"):
        note(f"trace {method}", ls.trace, H, 24, method, seed=2)
    note("trace to a tolerance", ls.trace, H, 60, "hutchinson", tol=0.2)
    note("trace of Gauss-Newton", lambda: ls.trace(ls.GaussNewton(case.objective), 24, "xnystrace"))
    note("Frobenius", ls.frobenius_norm, H, 24)
    note("trace and Frobenius", spectra.trace_and_frobenius, H, 24)
    for method in ("hutchinson", "xdiag"):
        note(f"diagonal {method}", ls.diagonal, H, 24, method)
    note("layers", ls.by_layer, H, probes=8, missed_probes=2)


def surfaces(note, case):
    o = case.objective
    a, b, c = o.at(case.init), o.at(case.middle), o
    for normalize in ("filter", "layer", "model", "element", None):
        note(f"directions {normalize}", ls.random_directions, o, 2, normalize=normalize)
    for vectors in ("scale", "keep"):
        note(f"directions, vectors {vectors}", ls.random_directions, o, 1, vectors=vectors, attention="head", seed=4)
    note("gradient direction", slices.gradient_direction, o)
    note("between", ls.direction_between, c, a)
    through = note("through", ls.plane_through, a, b, c)
    pairs = ls.top_eigenpairs(ls.Hessian(o), 2)
    note("eigenvectors", ls.eigen_directions, pairs)
    D = ls.random_directions(o, 3, seed=5)
    test = {"test": o.on(case.test)}
    line = note("line", ls.line, o, D.vectors[0], span=0.5, points=11, also=test)
    note("line together", ls.line, o, D.vectors[0], points=5, together=4)
    note("line errors", ls.line, o, D.vectors[0], points=5, errors=True)
    plane = note("plane", ls.plane, o, D.vectors[:2], span=(0.5, 1.0), points=(7, 5), also=test)
    note("plane through", ls.plane, o, through, points=3)
    note("adaptive plane", slices.adaptive_plane, o, D.vectors[:2], coarse=5, refinements=1)
    note("volume", ls.volume, o, D, points=3)
    note("eigen ratio", slices.eigen_ratio, o, D.vectors[:2], span=0.2, points=3)
    note("projection", slices.project, o, D.vectors[:2], [a, b])
    note("trajectory", ls.trajectory_plane, [a, b, c], o)
    note("smoothness", slices.smoothness, o, [b, c], eta=[0.01, 0.1])
    note("curvature by scale", ls.scale_curvature, o, D.vectors[0], points=7)
    path = note("interpolation", ls.interpolate, o, a, c, points=7, also=test)
    note("barrier", lambda: (path.barrier, path.barrier_of("loss", over="mean")))
    note("barriers", ls.barriers, o, [a, b, c], points=5)
    for kind in ("bezier", "polygon"):
        note(f"curve {kind}", ls.connect, o, a, c, kind=kind, bends=2, steps=10, points=5)
    if aligned := note("aligned", ls.align, o, c, a):
        note("aligned path", ls.interpolate, o, c, aligned, points=3)
    for name, surface in (("line", line), ("plane", plane)):
        note(f"reading of the {name}", ls.read_slice, surface)
        note(f"topology of the {name}", ls.topology, surface)
        note(f"basins of the {name}", slices.basins, surface)
        note(f"quadratic {name}", slices.quadratic_overlay, surface, 2.0 if name == "line" else [2.0, 1.0], slope=0.1)


FAMILIES = tuple(dict.fromkeys(definition.family for definition in scores.REGISTRY.values()))


def panels(note, case):
    note("panel", ls.sharpness, case.objective, seed=1)
    for family in FAMILIES:
        if note(family, ls.sharpness, case.objective, family, checkpoint=case.checkpoint) is None:
            for slug in (d.slug for d in scores.select(family)):
                note(slug, ls.sharpness, case.objective, slug, checkpoint=case.checkpoint)


AUDITED = ("adaptive-average", "inverse-sigma-mag", "adaptive-worst-linf", "trace", "weight-norm", "log-volume")


def audit(note, case):
    for slug in AUDITED:
        note(slug, ls.audit, case.objective, slug, examples=12)


def transformed(note, case):
    o, X = case.objective, case.inputs
    note("places", transforms.places, case.model, X)
    for name, options in {
        "layer_scale": {"alpha": 3.0},
        "node_scale": {},
        "norm_layer_scale": {"alpha": 3.0},
        "permutation": {},
        "softmax_shift": {},
        "gl_attention": {},
        "temperature": {"t": 1.5},
        "gauge_fix": {},
        "fold_batch_norm": {},
    }.items():
        made = note(name, getattr(transforms, name), case.model, X, **options)
        if made is None:
            continue
        note(f"{name}: draw", made.map_draw, case.vector, o.names)
        note(f"{name}: objective", lambda made=made: ls.Objective(made.model, case.data, case.loss, **case.options))
    note("normalised logits", lambda: transforms.normalize_logits(o.outputs()))
    note("normalised network", lambda: transforms.LogitNormalized(case.model)(X))
    note("normalised loss", lambda: transforms.normalized_cross_entropy(o.outputs(), o.targets))


SUBJECTS = {
    "objective": objective,
    "operators": operators,
    "spectra": spectrum,
    "slices": surfaces,
    "scores": panels,
    "audit": audit,
    "transforms": transformed,
}


# --- once -------------------------------------------------------------------------------------------------------------


def register(note):
    for slug, definition in scores.REGISTRY.items():
        fields = {name: value for name, value in vars(definition).items() if name != "compute"}
        note(slug, lambda fields=fields: {**fields, "in family": fields.pop("family"), "in units": fields.pop("unit")})
    note("selected", lambda: [d.slug for d in scores.select(None)])
    note("unknown", scores.select, "lamda-max")
    note("gates", lambda: (comparison.GATES, comparison.PRIMARY))


def tests(note):
    a, b = draw(8, seed=1).numpy(), draw(8, seed=2).numpy() + 1.5
    score, noise = draw(24, seed=3).numpy(), draw(24, seed=4).numpy()
    outcome, design = score + noise, {"width": [1, 2, 3] * 8, "rate": [i // 12 for i in range(24)]}
    accuracy = expit(outcome) * 0.2 + 0.7
    s = statistics
    note("bootstrap", s.bootstrap_interval, a, resamples=500)
    note("bootstrap of two", s.bootstrap_interval, a, b, resamples=200)
    note("paired bootstrap", s.bootstrap_interval, a, b, statistic=paired, paired=True, resamples=200)
    note("superiority", s.superiority, a, b)
    note("equivalence", s.equivalence_test, a, b, margin=2.0)
    note("permutation", s.permutation_test, a, b)
    note("permutation, many", s.permutation_test, score[:14], noise[:14] + 0.3)
    note("too few", s.permutation_test, a[:3], b[:3])
    note("sign flips", s.sign_flip_test, a, b, fewest=6)
    note("p values", s.permutation_p_values, np.tile(a, (4, 1)), np.stack([b, a, b / 2, -b]))
    note("floor", s.permutation_floor, 5, 6)
    note("Holm", s.holm, [0.01, 0.04, 0.03])
    note("Kendall", s.kendall, score, outcome)
    note("smallest tau", s.smallest_significant_tau, 9)
    note("granulated", s.granulated_kendall, design, score, outcome)
    note("independence", s.conditional_independence, design, score, outcome)
    note("sign error", s.robust_sign_error, design, score, accuracy, test_size=1000, least_effective=1.0)
    note("Hoeffding", s.hoeffding_weight, [0.01, 0.1], 1000)
    note("gap", s.informative_gap, 1000)
    note("increment", s.increment, score, outcome, noise[:, None] ** 2, [i // 3 for i in range(24)], seed=1)
    note("regret", s.selection_regret, score, outcome)
    note("trend", s.trend_test, outcome.reshape(6, 4))
    note("trends", s.trend_p_values, outcome.reshape(2, 3, 4))


def paired(a, b, axis=-1):
    return np.mean(a - b, axis=axis)


def data(note):
    for name, options in {"digits": {"train": 80}, "kink": {}, "slab": {}, "spirals": {}}.items():
        split = getattr(datasets, name)(seed=1, **options)
        note(name, lambda split=split: {"train": split.train, "test": split.test, "spare": split.spare})
        note(f"{name}: sums", datasets.fingerprint, *split.train)
    split = datasets.digits(train=80)
    for name in experiment("RECIPES"):
        recipe = note(f"recipe {name}", experiment("get_recipe"), name)
        note(f"training set of {name}", experiment("training_set"), recipe, split, seed=1)
    note("corrupted", experiment("corrupt_labels"), split.train[1], 0.5, 10, seed=1)
    for name, make in ls.models.MODELS.items():
        note(f"model {name}", make, *([9] if name == "char-transformer" else []), seed=1)
    note("coordinates", slices.log_coordinates, 1.0, 9)


def network(width=12, *, seed=0):
    return ls.models.mlp((64, width, 10), seed=seed)


def verdicts(note):
    split, recipe = datasets.digits(train=80), experiment("get_recipe")
    quick = {"lr": 0.1, "examples": 60, "batch_size": 30}
    goal = experiment("LossGoal")
    goals = {"early": goal(1.0), "late": goal(0.3), "end": goal(0.1)}
    recipes = {"plain": recipe("sgd", **quick), "momentum": recipe("momentum", **quick)}
    runs: dict[str, list[Any]] = {}
    for name, how in recipes.items():
        runs[name] = [
            note(f"{name} {i}", experiment("train_through"), how, split, network, goals=goals, seed=i) for i in range(4)
        ]
    checkpoint = experiment("as_checkpoint")
    saved = {name: [[checkpoint(run[g], network) for g in goals] for run in arm] for name, arm in runs.items()}
    last = {name: [run[-1] for run in arm] for name, arm in saved.items()}
    panel = [*comparison.PRIMARY, "trace", "weight-norm", "margin"]
    options = {"scores": panel, "fewest": 4, "audit": False}
    found = note("compared", ls.compare, last, **{**options, "audit": True})
    note("too few seeds", ls.compare, last, scores=list(comparison.PRIMARY), audit=False)
    note("waived", ls.compare, last, **{**options, "waive": ("gradient", "train loss")}, margin=0.2)
    early = {"plain": last["plain"], "momentum": [run[1] for run in saved["momentum"]]}
    note("unmatched", ls.compare, early, **options)
    note("tempered", ls.compare, early, **options, match="temper")
    note("interpolated", ls.compare, saved, **options, match="interpolate")
    note("placebo", ls.placebo, found, "momentum", arm=4, resamples=50)
    note("facts", comparison.facts, last["plain"][0].objective())
    note("slug", comparison.slugify, "SGD, η = 0.1")
    a, b = draw(6, 2, 3, seed=1).exp().numpy(), 1.5 * draw(6, 2, 3, seed=2).exp().numpy()
    note("tested", comparison.compare_scores, "a", "b", ["trace", "lpf"], a, b, margin=0.1, level=0.05, fewest=6)


def experiments(note):
    split = datasets.digits(train=80)
    recipe, descent = experiment("get_recipe"), experiment("Descent")
    quick = recipe("momentum", lr=0.1, examples=60, target=0.1)
    whole = recipe("momentum", lr=0.1, target=0.1)
    lazy = recipe("sgd", lr=0.2, target=1.0, target_accuracy=0.0)
    two = [quick, recipe("sgd", lr=0.3, examples=60, target=0.1)]
    few = ["weight-norm", "trace"]
    for name, options in {
        "architecture": {"recipe": quick, "seeds": [0], "epochs": [1], "points": 3, "ratio_points": 2, "examples": 20},
        "basin_volume": {"poison": [5], "recipe": whole, "seeds": [0, 1], "directions": 2},
        "double_descent": {"widths": (4, 8), "epochs": 2, "scores": few, "seeds": [0]},
        "edge_of_stability": {
            "descents": [descent(lr=0.1, steps=4), descent(rule="adam", lr=0.01, steps=4)],
            "every": 1,
        },
        "guess_and_check": {"guesses": 100, "networks": 2, "epochs": 2},
        "kernel_regime": {"widths": (4, 8), "labels": ["true"], "recipe": lazy, "examples": 20, "seeds": [0]},
        "large_batch": {"small": 5, "large": 20, "epochs": 2, "matchings": ["epochs"], "scores": few, "seeds": [0, 1]},
        "memorisation_test": {"recipe": quick, "seeds": [0, 1]},
        "memorised_examples": {"networks": 4, "epochs": 2},
        "optimisers": {"recipes": two, "scores": few, "seeds": [0, 1]},
        "randomisation": {"recipe": quick, "noise": (0.5,), "seeds": [0]},
        "randomisation_table": {
            "recipes": [quick],
            "noise": (0, 1),
            "losses": (0.1,),
            "epoch": 2,
            "norm": None,
            "seeds": [0],
        },
    }.items():
        factory = {"mine": network} if name == "architecture" else network
        note(name, experiment(name), factory, split, **options)
    many = experiment("train_many")([quick], split, network, seeds=[0])
    note("run", lambda: many)
    note("evaluated", experiment("evaluate"), network(), *split.test)


GENERAL = {
    "register": register,
    "statistics": tests,
    "data": data,
    "comparison": verdicts,
    "experiments": experiments,
}
