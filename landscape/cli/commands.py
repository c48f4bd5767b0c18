"""What each command does: read arguments, call the library, hand back a result to print. No numerics live here."""

from __future__ import annotations

import argparse
import functools
import glob
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

from landscape.cli.targets import data_of_arms, load
from landscape.errors import LandscapeError


def demo(arguments: argparse.Namespace) -> Any:
    """Run the main job."""
    from landscape.training.demo import demo as run

    done = run(arguments.out, seeds=arguments.seeds, quick=arguments.quick, workers=arguments.workers)
    written = [f"study    {done.study}", *(f"figure   {path}" for path in done.figures if path.suffix == ".png")]
    lines = [done.comparison.table(), "", done.comparison.verdict, "", *written]
    return Printed("\n".join(lines), done.comparison.to_dict())


def train(arguments: argparse.Namespace) -> Any:
    """Train networks by recipe."""
    from landscape.datasets import digits
    from landscape.experiments import get_recipe, train_many
    from landscape.models import mlp

    options = (
        "lr", "momentum", "batch_size", "weight_decay", "shift", "label_noise", "examples", "target", "max_epochs",
    )  # fmt: skip
    changes = {name: value for name in options if (value := getattr(arguments, name)) is not None}
    recipes = [get_recipe(name, **changes) for name in arguments.recipe]
    if len(arguments.sizes) < 2 or (arguments.sizes[0], arguments.sizes[-1]) != (64, 10):
        given = " ".join(map(str, arguments.sizes))
        raise LandscapeError(f"--sizes {given}: the digits have 64 pixels and 10 classes; expected 64 … 10")
    factory = functools.partial(mlp, sizes=tuple(arguments.sizes))
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    runs = train_many(
        recipes, digits(seed=arguments.split_seed), factory, seeds=seeds, out=arguments.out, workers=arguments.workers
    )
    rows = [run for arm in runs.values() for run in arm]
    text = "\n".join(
        f"{run.name:<22} loss {run.train_loss:.4f}  train {run.train_accuracy:.1%}  test {run.test_accuracy:.1%}"
        f"  {run.steps} steps" + ("" if run.reached else "  TARGET NOT REACHED")
        for run in rows
    )
    told = ("name", "reached", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "steps")
    record = [{name: getattr(run, name) for name in told} for run in rows]
    return Printed(text, record)


def experiment(arguments: argparse.Namespace) -> Any:
    """Run a published experiment, or list them."""
    from landscape.studies.registry import describe_experiments, experiments, run_experiment

    if arguments.name is None:
        return Printed(describe_experiments(), {name: one.question for name, one in experiments().items()})
    done = run_experiment(
        arguments.name, arguments.out, save=arguments.save, workers=arguments.workers, quick=arguments.quick
    )
    findings = [f"{label}: {text}" for label, text in done.result.summary()]
    written = [("study", done.study), ("table", done.table), *(("figure", path) for path in done.figures)]
    text = [done.result.table(), "", *findings, "", *(f"{what:<8} {path}" for what, path in written)]
    return Printed("\n".join(text), done.result.to_dict())


def eigen(arguments: argparse.Namespace) -> Any:
    """Compute eigenpairs of the Hessian."""
    from landscape.operators import Hessian
    from landscape.spectra import top_eigenpairs

    def one(checkpoint: Any, **saving: Any) -> Any:
        return top_eigenpairs(
            Hessian(checkpoint.objective(arguments.on)),
            k=arguments.k, which=arguments.which, tol=arguments.tol, seed=arguments.seed,
            certify="check" if arguments.certify is None else arguments.certify, **saving,
        )  # fmt: skip

    return _each(arguments, one, f"top{arguments.k}-{arguments.which.lower()}")


def slice_(arguments: argparse.Namespace) -> Any:
    """Evaluate a line or a plane."""
    from landscape.slices import line, plane, random_directions

    def one(checkpoint: Any, **saving: Any) -> Any:
        objective = checkpoint.objective(arguments.on)
        also = {"test": checkpoint.objective("test")} if checkpoint.has_test and arguments.on == "train" else None
        normalize = None if arguments.normalize == "none" else arguments.normalize
        directions = random_directions(objective, n=arguments.dims, normalize=normalize, seed=arguments.seed)
        walk = line if arguments.dims == 1 else plane
        return walk(
            objective, directions, span=arguments.span, points=arguments.points, also=also, dataset=arguments.on,
            workers=arguments.workers, **saving,
        )  # fmt: skip

    return _each(arguments, one, "line" if arguments.dims == 1 else "plane")


def score(arguments: argparse.Namespace) -> Any:
    """Score checkpoints."""
    from landscape.scores import sharpness

    wanted = "all" if arguments.scores == ["all"] else arguments.scores

    def one(checkpoint: Any, **saving: Any) -> Any:
        objective = checkpoint.objective(arguments.on)
        return sharpness(objective, wanted, seed=arguments.seed, audit=arguments.audit, **saving)

    return _each(arguments, one, "scores")


def compare(arguments: argparse.Namespace) -> Any:
    """Compare recipes over seeds."""
    from landscape.comparison import compare as run

    found: dict[str, list[str]] = {}
    for item in arguments.recipes:
        name, equals, pattern = item.partition("=")
        if not equals:
            raise LandscapeError(
                f"{item!r} does not name a recipe; expected NAME=PATTERN, such as sgd='runs/sgd-*.safetensors'"
            )
        if name in found:
            raise LandscapeError(f"recipe {name!r} is named twice; give each a name of its own, or one pattern for all")
        found[name] = [
            p for p in sorted(glob.glob(pattern)) if not p.endswith((".json", "-init.safetensors", ".init.safetensors"))
        ]
        if not found[name]:
            raise LandscapeError(f"no file matches {pattern!r} of recipe {name!r}")
    if len(found) < 2:
        raise LandscapeError(f"one recipe ({', '.join(found)}); expected at least two: NAME=PATTERN OTHER=PATTERN")
    loaders = data_of_arms(arguments.data, [*found])
    recipes = {
        name: [load(argparse.Namespace(**{**vars(arguments), "data": loaders[name]}), path) for path in paths]
        for name, paths in found.items()
    }
    _check_free(arguments, arguments.entry)
    result = run(
        recipes, scores=arguments.scores, seed=arguments.seed, margin=arguments.margin,
        loss_tolerance=arguments.loss_tolerance, waive=arguments.waive, match=arguments.match,
        save=arguments.save, workers=arguments.workers,
    )  # fmt: skip
    if arguments.save and os.environ.get("RANK", "0") == "0":
        result.save(arguments.save, arguments.entry, overwrite=arguments.overwrite)
    return Printed(f"{result.table()}\n\n{result.verdict}", result.to_dict())


def leaderboard(arguments: argparse.Namespace) -> Any:
    """Judge scores over the zoo."""
    from landscape.cli.targets import import_object
    from landscape.studies.leaderboard import leaderboard as run

    scores = [import_object(name) if ":" in name else name for name in arguments.score]
    board = run(
        *scores, path=arguments.zoo, sample=arguments.sample, workers=arguments.workers, seed=arguments.seed,
        save=arguments.save if scores else None, overwrite=arguments.overwrite,
        tell=functools.partial(print, file=sys.stderr, flush=True),
    )  # fmt: skip
    return Printed(
        "\n\n".join([board.table(), *(f"{name}: {board.place(name)}" for name in board.asked)]), board.to_dict()
    )


def plot(arguments: argparse.Namespace) -> Any:
    """Draw entries of a study."""
    from landscape import plots
    from landscape.plots import interactive
    from landscape.store import open_study

    opened = open_study(arguments.study)
    names = arguments.entries or list(opened)
    written: list[Any] = []
    for name in names:
        result = opened[name]
        if type(result).kind not in plots.KINDS:
            continue
        target = Path(arguments.out) / name.replace("/", "-")
        if formats := tuple(form for form in arguments.format if form != "html"):
            written += plots.save(result.plot().figure, target, formats=formats)
        if "html" in arguments.format and type(result).kind in interactive.KINDS:
            written.append(interactive.save(interactive.plot(result), target.with_name(f"{target.name}.html")))
    if not written:
        raise LandscapeError(
            f"{Path(arguments.study).name} holds nothing that can be drawn among {', '.join(names) or 'nothing'}"
        )
    return _files(written)


def export(arguments: argparse.Namespace) -> Any:
    """Write an entry of a study in another format."""
    from landscape.exchange import FORMATS
    from landscape.store import open_study

    result = open_study(arguments.study)[arguments.entry]
    made = FORMATS[arguments.format](result, arguments.output)
    return _files(made if isinstance(made, list) else [made])


def report(arguments: argparse.Namespace) -> Any:
    """Write the report of a study."""
    from landscape.report import report as write

    page = write(arguments.study, arguments.output, latex=arguments.latex)
    return _files([page, *([arguments.latex] if arguments.latex else [])])


def info(arguments: argparse.Namespace) -> Any:
    """Print what a study holds."""
    from landscape import store

    return Printed(store.info(arguments.study), None)


def completion(arguments: argparse.Namespace) -> Any:
    """Print the script that completes commands and options in a shell."""
    from landscape.cli.completion import script
    from landscape.scores import REGISTRY
    from landscape.studies.registry import experiments
    from landscape.training.recipes import RECIPES

    names = {
        ("train", "recipe"): [*RECIPES],
        ("experiment", "name"): [*experiments()],
        ("score", "scores"): ["all", *REGISTRY],
        ("compare", "scores"): [*REGISTRY],
    }
    text = script(arguments.parser, arguments.shell, names)
    return Printed(text, {"shell": arguments.shell, "script": text})


def validate(arguments: argparse.Namespace) -> Any:
    """Check a study against the schema."""
    from landscape import store

    problems = store.validate(arguments.study)
    if problems:
        raise LandscapeError(f"{Path(arguments.study).name} is not a valid study: {'; '.join(problems)}")
    return Printed("valid", {"valid": True})


class Printed(NamedTuple):
    """A result with its text and its JSON form."""

    text: str
    record: Any


def _files(paths: list[Any]) -> Printed:
    """Name the files that were written, one per line."""
    written = [str(path) for path in paths]
    return Printed("\n".join(written), written)


def _each(arguments: argparse.Namespace, measure: Any, entry: str) -> Printed:
    """Measure every checkpoint named; each measurement stores its result, or finds there what was finished before."""
    from landscape.results import Scores
    from landscape.store.names import slugify

    texts, records = [], {}
    members = [(load(arguments, path), path) for path in arguments.checkpoint]
    names = [slugify(checkpoint.name or Path(path).stem) for checkpoint, path in members]
    twice = [name for name in names if names.count(name) > 1]  # of a/best.pt and b/best.pt, the folders tell
    names = [
        slugify(f"{Path(p).absolute().parent.name} {n}") if n in twice else n
        for n, (_, p) in zip(names, members, strict=True)
    ]
    if len(set(names)) < len(names):
        raise LandscapeError(f"checkpoints of one name ({', '.join(names)}) cannot be told apart; rename a file")
    _check_free(arguments)
    for name, (checkpoint, _) in zip(names, members, strict=True):
        target = (arguments.save, f"{name}/{arguments.entry or entry}")
        saving = {"save": target, "overwrite": arguments.overwrite} if arguments.save else {}
        result = measure(checkpoint, **saving)
        text = result.table() if isinstance(result, Scores) else repr(result)
        texts.append(f"{name}\n{text}")
        records[name] = result.to_dict()
    return Printed("\n\n".join(texts), records)


def _check_free(arguments: argparse.Namespace, name: str | None = None) -> None:
    """Refuse before anything is computed what could not be stored afterwards."""
    if not arguments.save:
        return
    path = Path(arguments.save)
    if not path.parent.is_dir():
        raise LandscapeError(f"there is no folder {path.parent.name!r} for {path.name}; make it first")
    if path.is_dir():
        raise LandscapeError(f"{path.name!r} is a folder, expected a study file such as study.h5")
    if name is not None and path.exists() and not arguments.overwrite:
        from landscape.store import open_study

        if name in open_study(path):
            raise LandscapeError(f"{path.name} already holds {name}; choose another --entry, or pass --overwrite")
