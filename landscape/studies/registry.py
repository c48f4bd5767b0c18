"""The studies by name, found among the files of this folder, and the one call that runs them."""

from __future__ import annotations

import inspect
import os
import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, wraps
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from landscape.arguments import checked, several, several_seeds
from landscape.errors import LandscapeError
from landscape.training import as_split
from landscape.training.recipes import as_recipe, as_recipes
from landscape.workers import Workers

P = ParamSpec("P")
R = TypeVar("R")
SHARED = {
    "factory": "called with ``seed=``; importable by name if there are several workers.",
    "recipe": "how to train, the same for all.",
    "widths": "of the networks: two or more, ascending.",
    "seeds": "one run of each combination per seed.",
    "workers": "processes; the numbers do not depend on them.",
    "save": "study file to keep the result in, under the name of the study; finished runs survive an interruption, and the\n"
    "        same call goes on from them.",
}
"""What arguments of studies mean, in the docs of every study that has one and does not say more of it."""
_RAISES = """
Raises:
    LandscapeError: data without labels, a factory that does not fit them, options out of range, or a study begun with other
        settings.
    NumericalError: a loss became NaN or infinite.
"""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A study that the shell can run: the one called ``STUDY`` of a module in this folder.

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
    """What an experiment found, the HDF5 file with every run, the Markdown table, and the figure as PNG and PDF."""

    result: Any
    study: Path
    table: Path
    figures: tuple[Path, ...]


def ascending_widths(widths: Any) -> list[int]:
    """Return two widths of networks or more, checked to ascend.

    Raises:
        LandscapeError: anything else.
    """
    found: list[int] = several(widths, "widths")
    if len(found) < 2 or any(a >= b for a, b in pairwise(found)) or found[0] < 1:
        raise LandscapeError(f"widths {found}; expected two or more ascending widths")
    return found


CHECKED: Mapping[str, Callable[[Any], Any]] = {
    "split": as_split,
    "recipe": as_recipe,
    "recipes": as_recipes,
    "seeds": several_seeds,
    "widths": ascending_widths,
}
"""What makes of an argument what a study computes with, or refuses it."""


def published(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function of a study with what all studies share checked (`CHECKED`), and said in its docs.

    >>> @published
    ... def coin(*, seeds=range(3), workers=1):
    ...     '''Flip a coin.
    ...
    ...     Args:
    ...         seeds: one flip each.
    ...
    ...     Returns:
    ...         `Trials`.
    ...     '''
    >>> [line.strip() for line in coin.__doc__.splitlines() if ": " in line][:2]
    ['seeds: one flip each.', 'workers: processes; the numbers do not depend on them.']
    """
    signature = inspect.signature(function)

    @checked
    @wraps(function)
    def conducted(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            given = signature.bind(*args, **kwargs)
        except TypeError:
            return function(*args, **kwargs)  # raises Python's own message, which names the function
        given.apply_defaults()
        for name, check in CHECKED.items():
            if given.arguments.get(name) is not None:
                given.arguments[name] = check(given.arguments[name])
        if not given.arguments.get("seeds", True):
            raise LandscapeError("seeds are none; expected at least one, such as range(3)")
        return function(*given.args, **given.kwargs)

    before, mark, after = inspect.cleandoc(function.__doc__ or "").partition("\nReturns:\n")
    unsaid = [name for name in signature.parameters if not re.search(rf"^    {name}: ", before, re.MULTILINE)]
    before = before.rstrip() + "".join(f"\n    {name}: {SHARED[name]}" for name in unsaid if name in SHARED)
    returns, blank, rest = after.partition("\n\n")
    raises = "" if "Raises:" in rest else f"\n{_RAISES.rstrip()}"
    conducted.__doc__ = f"{before}\n{mark}{returns}{raises}{blank}{rest}".rstrip()
    return conducted


@cache
def experiments() -> Mapping[str, Experiment]:
    """Return every study by its name, in the order of names.

    >>> "kernel-regime" in experiments()
    True
    """
    package = import_module("landscape.studies")
    modules = (import_module(f"landscape.studies.{module.name}") for module in pkgutil.iter_modules(package.__path__))
    studies = [module.STUDY for module in modules if hasattr(module, "STUDY")]
    return {study.name: study for study in sorted(studies, key=lambda study: study.name)}


def run_experiment(
    name: str,
    out: str | os.PathLike[str] = "experiments",
    *,
    save: str | os.PathLike[str] | None = None,
    workers: Workers = 1,
    quick: bool = False,
) -> Conducted:
    """Run an experiment by name; write its study file, its table and its figure.

    Args:
        name: a key of `experiments`.
        out: folder for ``NAME.h5``, ``NAME.md`` and ``NAME.png``/``.pdf``; a quick run's files are called ``NAME-quick``.
        save: another place for the study file. Finished runs found beside it are not repeated.
        workers: processes.
        quick: settings of seconds, to see that everything works.

    Raises:
        LandscapeError: an unknown experiment, a folder that cannot be written, or a study made with other settings.
    """
    from landscape import plots

    if name not in experiments():
        raise LandscapeError(f"no experiment is called {name!r}; there are {', '.join(experiments())}")
    experiment, out = experiments()[name], Path(out)
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
    drawn = result.plot()
    figures = plots.save(getattr(drawn, "figure", drawn), out / stem)
    return Conducted(result=result, study=study, table=table, figures=tuple(figures))


def markdown(experiment: Experiment, result: Any) -> str:
    """Return the findings and the table of an experiment as a Markdown page."""
    findings = "\n".join(f"- **{label}**: {text}" for label, text in result.summary() if label != "time")
    title = experiment.name.replace("-", " ").capitalize()
    return f"# {title}\n\n{experiment.question}\n\n{findings}\n\n{result.table('markdown')}\n"


def describe_experiments() -> str:
    """Return one line per experiment: its name and its question.

    >>> describe_experiments().count("\\n") + 1 == max(1, len(experiments()))
    True
    """
    width = max(map(len, experiments()), default=0)
    return "\n".join(f"{name:<{width}}  {one.question}" for name, one in experiments().items())
