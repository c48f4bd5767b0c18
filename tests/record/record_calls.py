"""What is called on every network (``SUBJECTS``), and what is called once (``GENERAL``)."""

from __future__ import annotations

import operator
import tempfile
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record_networks import build, draw

import landscape as ls
from landscape import comparison, datasets, export, scores, slices, spectra, statistics, transforms


def experiment(name: str) -> Any:
    """Return a public name of the experiments, wherever they live."""
    return getattr(import_module("landscape.experiments"), name)


def objective(note, case):
    o, near = case.objective, case.objective.theta + 0.01 * case.vector
    for name in ("theta", "n", "names", "task", "likelihood", "reduction", "loss_name", "graded", "fixed", "targets"):
        note(name, getattr, o, name)
    for name in ("loss", "gradient", "value_and_gradient", "evaluate", "outputs", "per_example"):
        note(name, getattr(o, name))
        note(f"{name} nearby", getattr(o, name), near)
    for name, change in {
        "at weights": partial(o.at, case.init),
        "at vector": partial(o.at, near),
        "subset": partial(o.subset, [3, 0, 5]),
        "rebatch": partial(o.rebatch, 3),
        "recalibrated": o.recalibrated,
        "on": partial(o.on, case.test),
        "other loss": partial(o.with_loss, transforms.normalized_cross_entropy),
        "training mode": partial(case.again, mode="train"),
        "some weights": partial(case.again, parameters="*weight"),
        "metrics": partial(case.again, metrics={"l1": lambda output, target: output.abs().mean()}),
        "test data": partial(case.checkpoint.objective, "test"),
        "as trained": partial(case.checkpoint.objective, recalibrated=False),
    }.items():
        if other := note(name, change):
            note(f"{name}: gradient", other.gradient)
            note(f"{name}: values", other.evaluate)
    note("distance", case.checkpoint.distance_from_init)
    note("critical point", ls.critical_point, o, max_matvecs=30, steps=10)
    note("sampling error", scores.sampling_error, o, 2, groups=8, probes=2, draws=20)


OPERATORS = {
    "Hessian": ls.Hessian,
    "Gauss-Newton": ls.GaussNewton,
    "Fisher": ls.Fisher,
    "sampled Fisher": partial(ls.Fisher, samples=2, seed=3),
    "empirical Fisher": ls.EmpiricalFisher,
    "gradient covariance": ls.GradientCovariance,
}


def operators(note, case):
    o, v = case.objective, case.vector
    V = torch.stack([v, v.flip(0), v.abs()], dim=1)
    for name, make in OPERATORS.items():
        A = note(name, make, o)
        if A is None or note(f"{name}: product", operator.matmul, A, v) is None:
            continue
        note(f"{name}: products", operator.matmul, A, V.numpy())
        note(f"{name}: plan", getattr, A, "plan")
        note(f"{name}: block", lambda A=A: A.block(o.names[-2:]).dense())
        note(f"{name}: layers", lambda A=A: A.block_diagonal() @ v)
        note(f"{name}: tensors", lambda A=A: A.block_diagonal("parameter") @ v)
        for program in ("kept", "split", "recompute"):
            note(f"{name}: {program}", lambda make=make, program=program: make(o, program=program) @ v)
    H, G = ls.Hessian(o), ls.GaussNewton(o)
    note("dense", H.dense)
    note("check", H.check)
    note("scaled", lambda: ls.scaled(H, o.theta.abs()) @ v)
    note("arithmetic", lambda: (0.5 * H - G * 2 + -H) @ v)
    note("block of a sum", lambda: (H + G).block(o.names[0]).dense())
    note("scipy", lambda: H.to_scipy().matvec(v.numpy()))
    note("few bytes", lambda: ls.Hessian(o, program="split", keep="fewest", coalesce=False) @ v)
    note("nothing kept", lambda: ls.Hessian(o.rebatch(5), memory=1) @ v)


def spectrum(note, case):
    H, G, v = ls.Hessian(case.objective), ls.GaussNewton(case.objective), case.vector
    pairs = note("LA", ls.top_eigenpairs, H, 3)
    for which in ("LM", "SA", "BE"):
        note(which, ls.top_eigenpairs, H, 2, which, tol=1e-5)
    note("block", ls.top_eigenpairs, H, 2, method="block", block_size=2, seed=1)
    note("few products", ls.top_eigenpairs, H, 3, max_matvecs=8, vectors=False, verify=False)
    note("deflated", ls.top_eigenpairs, H, 1, deflate=pairs, start=v)
    note("Gauss-Newton", ls.top_eigenpairs, G, 2)
    note("outlier edge", spectra.outlier_edge, pairs)
    rho = note("density", ls.spectral_density, H, probes=3, steps=12)
    note("density, deflated", ls.spectral_density, H, probes=2, steps=8, deflate=pairs, axis="log", points=50)
    positive = note("density of Gauss-Newton", ls.spectral_density, G, probes=3, steps=10)
    note("resmoothed", spectra.resmooth, rho, width=0.1, points=40)
    note("negative mass", spectra.mass, rho, "negative")
    note("moment", spectra.moment, rho, 2)
    note("sum", spectra.spectral_sum, rho, np.tanh, "sum of tanh")
    note("bulk edge", spectra.bulk_edge, rho)
    note("effective dimension", spectra.effective_dimension, positive, 0.1)
    note("log-determinant", spectra.log_determinant, positive, 0.1)
    note("entropy", spectra.renyi_entropy, positive, 0.5)
    for method in ("hutchinson", "hutch++", "xtrace", "xnystrace"):
        note(f"trace {method}", ls.trace, G if method == "xnystrace" else H, 24, method, seed=2)
    note("trace refused", ls.trace, H, 24, "xnystrace")
    note("trace to a tolerance", ls.trace, H, 60, "hutchinson", tol=0.2)
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
    note("eigenvectors", lambda: ls.eigen_directions(ls.top_eigenpairs(ls.Hessian(o), 2)))
    D, test = ls.random_directions(o, 3, seed=5), {"test": o.on(case.test)}
    d, pair = D.vectors[0], D.vectors[:2]
    line = note("line", ls.line, o, d, span=0.5, points=11, also=test)
    note("line together", ls.line, o, d, points=5, together=4)
    note("line errors", ls.line, o, d, points=5, errors=True)
    plane = note("plane", ls.plane, o, pair, span=(0.5, 1.0), points=(7, 5), also=test)
    note("plane through", ls.plane, a, ls.plane_through(a, b, c), points=3)
    note("adaptive plane", slices.adaptive_plane, o, pair, coarse=5, refinements=1)
    note("volume", ls.volume, o, D, points=3)
    note("eigen ratio", slices.eigen_ratio, o, pair, span=0.2, points=3)
    note("projection", slices.project, o, pair, [a, b])
    note("trajectory", ls.trajectory_plane, [a, b, c], o)
    note("smoothness", slices.smoothness, o, [b, c], eta=[0.01, 0.1])
    note("curvature by scale", ls.scale_curvature, o, d, points=7)
    path = note("interpolation", ls.interpolate, o, a, c, points=7, also=test)
    note("barrier", path.barrier_of, "loss", over="mean")
    note("barriers", ls.barriers, o, [a, b, c], points=5)
    for kind in ("bezier", "polygon"):
        note(f"curve {kind}", ls.connect, o, a, c, kind=kind, bends=2, steps=10, points=5)
    if aligned := note("aligned", ls.align, o, c, a):
        note("aligned path", ls.interpolate, o, c, aligned, points=3)
    for name, surface, matrix in (("line", line, 2.0), ("plane", plane, [2.0, 1.0])):
        note(f"reading of the {name}", ls.read_slice, surface)
        note(f"topology of the {name}", ls.topology, surface)
        note(f"basins of the {name}", slices.basins, surface)
        note(f"quadratic {name}", slices.quadratic_overlay, surface, matrix, slope=0.1)


def panels(note, case):
    note("panel", ls.sharpness, case.objective, seed=1)
    for family in dict.fromkeys(definition.family for definition in scores.REGISTRY.values()):
        if note(family, ls.sharpness, case.objective, family, checkpoint=case.checkpoint) is None:
            for slug in (definition.slug for definition in scores.select(family)):  # one that fails ends the panel
                note(slug, ls.sharpness, case.objective, slug, checkpoint=case.checkpoint)


def audit(note, case):
    note("primary", ls.audit, case.objective, list(comparison.PRIMARY), examples=12)
    note("others", ls.audit, case.objective, ["trace", "weight-norm", "log-volume"], examples=12)


TRANSFORMS = ("layer_scale", "node_scale", "norm_layer_scale", "permutation", "softmax_shift", "gl_attention")


def transformed(note, case):
    o, X = case.objective, case.inputs
    note("places", transforms.places, case.model, X)
    for name in (*TRANSFORMS, "temperature", "gauge_fix", "fold_batch_norm"):
        if made := note(name, getattr(transforms, name), case.model, X):
            note(f"{name}: draw", made.map_draw, draw(sum(p.numel() for p in case.model.parameters()), seed=1))
            note(f"{name}: outputs", made.model, X)
    note("normalised logits", lambda: transforms.normalize_logits(o.outputs()))
    note("normalised network", lambda: transforms.LogitNormalized(case.model)(X))
    note("normalised loss", lambda: transforms.normalized_cross_entropy(o.outputs(), o.targets))


def register(note):
    for slug, definition in scores.REGISTRY.items():
        fields = {name: value for name, value in vars(definition).items() if name != "compute"}
        note(slug, lambda fields=fields: [str(item) for item in fields.items()])
    note("selected", lambda: [definition.slug for definition in scores.select(None)])
    note("unknown", scores.select, "lamda-max")
    note("gates", lambda: (comparison.GATES, comparison.PRIMARY))


def tests(note):
    a, b = draw(8, seed=1).numpy(), draw(8, seed=2).numpy() + 1.5
    score, noise = draw(24, seed=3).numpy(), draw(24, seed=4).numpy()
    outcome, design = score + noise, {"width": [1, 2, 3] * 8, "rate": [i // 12 for i in range(24)]}
    s = statistics
    for name in ("bootstrap_interval", "superiority", "permutation_test"):
        note(name, getattr(s, name), a, b)
    note("kendall", s.kendall, score, outcome)
    cells = s.Cells.of_design(design)
    means = cells.means(score, outcome)
    for name in ("granulated", "conditional_information", "selection_regret"):
        note(name, getattr(s, name), cells, *means, cells.resamples(3))
    note("bootstrap of one", s.bootstrap_interval, a, resamples=500)
    note("paired bootstrap", s.bootstrap_interval, b - a, resamples=200)
    note("permutation, many", s.permutation_test, score[:14], noise[:14] + 0.3)
    note("too few", s.permutation_test, a[:3], b[:3])
    note("sign flips", s.sign_flip_test, a, b, fewest=6)
    note("p values", s.permutation_p_values, np.tile(a, (4, 1)), np.stack([b, a, b / 2, -b]))
    note("floor", s.permutation_floor, 5, 6)
    note("Holm", s.holm, [0.01, 0.04, 0.03])
    note("sign errors", s.sign_errors, cells, score, 0.1 * np.tanh(outcome), test_size=1_000_000)
    note("within cells", s.within_cells, cells, [i % 2 for i in range(24)], score, outcome, [noise**2], resamples=9)
    note("Hoeffding", s.hoeffding_weight, [0.01, 0.1], 1000)
    note("trend", s.trend_test, outcome.reshape(6, 4))
    note("trends", s.trend_p_values, outcome.reshape(2, 3, 4))


def data(note):
    for name in ("digits", "kink", "slab", "spirals"):
        split = getattr(datasets, name)(seed=1)
        note(name, lambda split=split: {"train": split.train, "test": split.test, "spare": split.spare})
        note(f"{name}: sums", datasets.fingerprint, *split.train)
    split = datasets.digits(train=200)
    for name in experiment("RECIPES"):
        recipe = note(f"recipe {name}", experiment("get_recipe"), name)
        note(f"training set of {name}", experiment("training_set"), recipe, split, seed=1)
    note("corrupted", experiment("corrupt_labels"), split.train[1], 0.5, 10, seed=1)
    for name, make in ls.models.MODELS.items():
        note(f"model {name}", make, *([9] if name == "char-transformer" else []), seed=1)
    note("coordinates", slices.log_coordinates, 1.0, 9)


def files(note):
    """What is written to a study and read again, and what others are given."""
    o = build("mlp").objective
    made = {
        "eigen": ls.top_eigenpairs(ls.Hessian(o), 2),
        "density": ls.spectral_density(ls.Hessian(o), probes=2, steps=8),
        "plane": ls.plane(o, ls.random_directions(o, 2), points=5),
        "scores": ls.sharpness(o, ["trace", "margin", "adaptive-average"]),
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, result in made.items():
            note(f"{name}: saved", result.save, Path(folder, "study.h5"), f"sgd-0/{name}")
            note(f"{name}: read", lambda name=name: ls.open_study(Path(folder, "study.h5"))[f"sgd-0/{name}"])
            note(f"{name}: frame", export.frame, result)


def network(width=12, *, seed=0):
    return ls.models.mlp((64, width, 10), seed=seed)


def verdicts(note):
    split, recipe, goal = datasets.digits(train=60), experiment("get_recipe"), experiment("LossGoal")
    goals = {"early": goal(1.0), "late": goal(0.1), "end": goal(0.03, accuracy=1.0)}
    saved: dict[str, list[Any]] = {}
    for name in ("sgd", "momentum"):
        train = partial(experiment("train_through"), recipe(name, lr=0.1, batch_size=30), split, network, goals=goals)
        runs = [note(f"{name} {seed}", train, seed=seed) for seed in range(4)]
        saved[name] = [[experiment("as_checkpoint")(run[g], network) for g in goals] for run in runs]
    last = {name: [run[-1] for run in arm] for name, arm in saved.items()}
    early = {"sgd": last["sgd"], "momentum": [run[1] for run in saved["momentum"]]}
    options = {"scores": [*comparison.PRIMARY, "trace", "weight-norm"], "fewest": 4, "level": 0.2, "audit": False}
    options["loss_tolerance"] = 0.2
    found = note("compared", ls.compare, last, **{**options, "audit": True})
    note("too few seeds", ls.compare, last, **{**options, "fewest": 6})
    note("waived", ls.compare, last, **options, waive=("gradient", "train loss"), margin=0.3)
    note("unmatched", ls.compare, early, **options)
    note("tempered", ls.compare, early, **options, match="temper", waive="gradient")
    note("interpolated", ls.compare, saved, **options, match="interpolate", waive="gradient")
    note("placebo", ls.placebo, found, "momentum", arm=6, resamples=50, level=0.2)
    note("facts", comparison.facts, last["sgd"][0].objective())
    note("slug", comparison.slugify, "SGD, η = 0.1")
    a, b = draw(6, 2, 3, seed=1).exp().numpy(), 1.5 * draw(6, 2, 3, seed=2).exp().numpy()
    note("tested", comparison.compare_scores, "a", "b", ["trace", "lpf"], a, b, margin=0.1, level=0.05, fewest=6)


def experiments(note):
    split, recipe, descent = datasets.digits(train=80), experiment("get_recipe"), experiment("Descent")
    quick, whole = (recipe("momentum", lr=0.1, examples=n, target=0.1) for n in (60, None))
    lazy = recipe("sgd", lr=0.2, target=1.0, target_accuracy=0.0)
    few, two = {"scores": ["weight-norm", "trace"]}, [quick, recipe("sgd", lr=0.3, examples=60, target=0.1)]
    small = {"points": 3, "ratio_points": 2, "examples": 20}
    once, twice = {"seeds": [0]}, {"seeds": [0, 1]}
    steps = [descent(lr=0.1, steps=4), descent(rule="adam", lr=0.01, steps=4)]
    for name, options in {
        "architecture": {"recipe": quick, "epochs": [1], **small, **once},
        "basin_volume": {"poison": [5], "recipe": whole, "directions": 2, **twice},
        "double_descent": {"widths": (4, 8), "epochs": 2, **few, **once},
        "edge_of_stability": {"descents": steps, "every": 1},
        "guess_and_check": {"guesses": 100, "networks": 2, "epochs": 2},
        "kernel_regime": {"widths": (4, 8), "labels": ["true"], "recipe": lazy, "examples": 20, **once},
        "large_batch": {"small": 5, "large": 20, "epochs": 2, "matchings": ["epochs"], **few, **twice},
        "memorisation_test": {"recipe": quick, **twice},
        "memorised_examples": {"networks": 4, "epochs": 2},
        "optimisers": {"recipes": two, **few, **twice},
        "randomisation": {"recipe": quick, "noise": (0.5,), **once},
        "randomisation_table": {
            "recipes": [quick],
            "noise": (0, 1),
            "losses": (0.1,),
            "epoch": 2,
            "norm": None,
            **once,
        },
    }.items():
        note(name, experiment(name), {"mine": network} if name == "architecture" else network, split, **options)
    note("many", experiment("train_many"), [quick], split, network, **once)
    note("evaluated", experiment("evaluate"), network(), *split.test)


SUBJECTS = {
    **{"objective": objective, "operators": operators, "spectra": spectrum, "slices": surfaces},
    **{"scores": panels, "audit": audit, "transforms": transformed},
}
GENERAL = {
    **{"register": register, "statistics": tests, "data": data, "files": files},
    **{"comparison": verdicts, "experiments": experiments},
}
