"""The experiments by name, each with its quick and its full settings, and the one call that runs them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from landscape.datasets import digits, spirals
from landscape.errors import LandscapeError
from landscape.models import mlp
from landscape.studies.architecture import architecture
from landscape.studies.basin_volume import basin_volume
from landscape.studies.double_descent import PUBLISHED_WIDTHS, double_descent
from landscape.studies.edge_of_stability import edge_of_stability, quick_descents
from landscape.studies.guess_and_check import guess_and_check
from landscape.studies.kernel_regime import kernel_regime
from landscape.studies.large_batch import f1_mlp, large_batch
from landscape.studies.memorised_examples import memorised_examples
from landscape.studies.optimisers import RECIPES as OPTIMISERS
from landscape.studies.optimisers import optimisers
from landscape.studies.randomisation import RECIPE, randomisation
from landscape.studies.randomisation_table import RECIPES, randomisation_table
from landscape.training.recipes import get_recipe


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """An experiment that the shell can run.

    Attributes:
        name: slug; the entry in the study file and the stem of every file written.
        question: what it asks, in one line.
        function: called with `full` or `quick`, and with ``workers=`` and ``save=`` (a study file). It stores its result
            there under `name`, and returns it; the result has ``.table(style)``, ``.plot()`` and ``.summary()``.
        full: keyword arguments of the published protocol; the defaults of `function` where empty.
        quick: keyword arguments that end in seconds.
    """

    name: str
    question: str
    function: Callable[..., Any]
    full: Mapping[str, Any] = field(default_factory=dict)
    quick: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Conducted:
    """What an experiment found and where it is.

    Attributes:
        result: the result.
        study: the HDF5 file with every run.
        table: the Markdown file with the findings and the table.
        figures: the figure, PNG and PDF.
    """

    result: Any
    study: Path
    table: Path
    figures: tuple[Path, ...]


_SMALL = partial(mlp, (64, 32, 10))

_EXPERIMENTS: tuple[Experiment, ...] = (
    Experiment(
        name="architecture",
        question="Do skip connections and norm layers smooth the loss surface?",
        function=architecture,
        full={"points": 11},
        quick={
            "split": digits(train=60, flatten=False),
            "recipe": get_recipe("momentum", lr=0.02, target=1.5, target_accuracy=0.5, max_epochs=20),
            "seeds": range(1),
            "epochs": (1,),
            "points": 5,
            "ratio_points": 2,
            "examples": 20,
        },
    ),
    Experiment(
        name="basin-volume",
        question="Are the basins of networks that also fit wrong labels smaller, on the loss surface of the clean data?",
        function=basin_volume,
        full={"poison": (20,), "seeds": range(6), "directions": 20},
        quick={
            "factory": partial(mlp, (2, 16, 2)),
            "split": spirals(train=40),
            "poison": (5,),
            "recipe": get_recipe("sgd", optimiser="adam", lr=0.01, batch_size=20, target=0.4, target_accuracy=0.7),
            "seeds": range(2),
            "directions": 5,
        },
    ),
    Experiment(
        name="randomisation",
        question="Can the network fit noise, how much slower, how much sharper, and how bad is it on test data?",
        function=randomisation,
        full={"seeds": range(6)},
        quick={
            "factory": _SMALL,
            "split": digits(train=150),
            "noise": (0.4,),
            "seeds": (0,),
            "recipe": replace(RECIPE, lr=0.2, target=0.05),
        },
    ),
    Experiment(
        name="randomisation-table",
        question="Are minima the sharper the more labels are random, at matched loss, for SGD and for momentum?",
        function=randomisation_table,
        quick={
            "factory": _SMALL,
            "split": digits(train=150),
            "recipes": [replace(recipe, lr=4 * recipe.lr) for recipe in RECIPES[:1]],
            "noise": (0.0, 0.4, 1.0),
            "seeds": (0, 1),
            "losses": (0.05,),
            "epoch": 20,
            "norm": None,
            "audit": False,
        },
    ),
    Experiment(
        name="optimisers",
        question="Does momentum end in flatter minima than SGD, at one loss and against its own edge of stability?",
        function=optimisers,
        full={"seeds": range(6)},
        quick={
            "factory": _SMALL,
            "split": digits(train=150),
            "recipes": [replace(recipe, lr=4 * recipe.lr, target=0.05) for recipe in OPTIMISERS],
            "seeds": (0, 1),
        },
    ),
    Experiment(
        name="double-descent",
        question="Where does the test error peak as networks grow, and does sharpness peak there too?",
        function=double_descent,
        full={"widths": PUBLISHED_WIDTHS, "epochs": 900},
        quick={"widths": (4, 16, 64), "epochs": 10, "seeds": (0,), "scores": ("lambda-max",)},
    ),
    Experiment(
        name="edge-of-stability",
        question="Does training sharpen the minimum until its optimiser can just bear it?",
        function=edge_of_stability,
        full={"every": 51},
        quick={"descents": quick_descents()},
    ),
    Experiment(
        name="guess-and-check",
        question="How much of the volume of weights that fit generalises, and how much less also fits wrong labels?",
        function=guess_and_check,
        full={"guesses": 100_000_000, "networks": 1000},
        quick={"guesses": 500_000, "networks": 50, "epochs": 50},
    ),
    Experiment(
        name="kernel-regime",
        question="Is a wide network lazy: do its weights, kernel and linearisation stay where they were?",
        function=kernel_regime,
        full={"seeds": range(2)},
        quick={"widths": (16, 128), "labels": ("true",), "seeds": (0,)},
    ),
    Experiment(
        name="large-batch",
        question="Do large batches find sharper minima than small ones?",
        function=large_batch,
        full={"epochs": 20, "seeds": range(3)},
        quick={"factory": partial(f1_mlp, 64), "matchings": ("epochs",), "epochs": 8, "seeds": (0, 1)},
    ),
    Experiment(
        name="memorised-examples",
        question="Which examples does a network memorise, and which test examples does that help?",
        function=memorised_examples,
        full={"networks": 2000},
        quick={"factory": partial(mlp, (64, 32, 10)), "networks": 50, "epochs": 10},
    ),
)

EXPERIMENTS: MappingProxyType[str, Experiment] = MappingProxyType({one.name: one for one in _EXPERIMENTS})
"""Every experiment by its name."""


def run_experiment(
    name: str,
    out: str | os.PathLike[str] = "experiments",
    *,
    save: str | os.PathLike[str] | None = None,
    workers: int = 1,
    quick: bool = False,
) -> Conducted:
    """Run an experiment by name; write its study file, its table and its figure.

    Args:
        name: a key of `EXPERIMENTS`.
        out: folder for ``NAME.h5``, ``NAME.md`` and ``NAME.png``/``.pdf``; a quick run's files are called ``NAME-quick``.
        save: another place for the study file. Finished runs found beside it are not repeated.
        workers: processes.
        quick: settings of seconds, to see that everything works.

    Raises:
        LandscapeError: an unknown experiment, a folder that cannot be written, or a study made with other settings.
    """
    if name not in EXPERIMENTS:
        raise LandscapeError(f"no experiment is called {name!r}; there are {', '.join(EXPERIMENTS)}")
    experiment, out = EXPERIMENTS[name], Path(out)
    stem = f"{name}-quick" if quick else name
    study = Path(save) if save is not None else out / f"{stem}.h5"
    try:
        out.mkdir(parents=True, exist_ok=True)
        study.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LandscapeError(f"cannot write to {out} ({error.strerror}); choose a folder you may write to") from error
    result = experiment.function(**(experiment.quick if quick else experiment.full), workers=workers, save=study)
    table = out / f"{stem}.md"
    table.write_text(markdown(experiment, result), encoding="utf-8")
    return Conducted(result=result, study=study, table=table, figures=tuple(_drawn(result, out / stem)))


def markdown(experiment: Experiment, result: Any) -> str:
    """Return the findings and the table of an experiment as a Markdown page.

    Args:
        experiment: gives the title.
        result: its result.
    """
    findings = "\n".join(f"- **{label}**: {text}" for label, text in result.summary() if label != "time")
    title = experiment.name.replace("-", " ").capitalize()
    return f"# {title}\n\n{experiment.question}\n\n{findings}\n\n{result.table('markdown')}\n"


def describe_experiments() -> str:
    """Return one line an experiment: its name and its question.

    >>> describe_experiments().count("\\n") + 1 == max(1, len(EXPERIMENTS))
    True
    """
    width = max(map(len, EXPERIMENTS), default=0)
    return "\n".join(f"{name:<{width}}  {one.question}" for name, one in EXPERIMENTS.items())


def _drawn(result: Any, path: Path) -> list[Path]:
    from landscape import plots

    drawn = result.plot()
    return plots.save(getattr(drawn, "figure", drawn), path)
