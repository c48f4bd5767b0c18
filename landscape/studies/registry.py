"""The studies by name, found among the files of this folder, and the one call that runs them."""

from __future__ import annotations

import inspect
import os
import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from landscape.arguments import checked
from landscape.errors import LandscapeError
from landscape.workers import Workers

P = ParamSpec("P")
R = TypeVar("R")
SHARED = {
    "factory": "called with ``seed=``; importable by name if there are several workers.",
    "recipe": "how to train, the same for all.",
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


def published(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function of a study with its numbers checked, and with what it leaves unsaid of shared arguments in its docs.

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
    text = inspect.cleandoc(function.__doc__ or "")
    before, mark, after = text.partition("\nReturns:\n")
    unsaid = [
        name
        for name in inspect.signature(function).parameters
        if not re.search(rf"^    {name}: ", before, re.MULTILINE)
    ]
    before = before.rstrip() + "".join(f"\n    {name}: {SHARED[name]}" for name in unsaid if name in SHARED)
    returns, blank, rest = after.partition("\n\n")
    command = checked(function)
    raises = "" if "Raises:" in rest else f"\n{_RAISES.rstrip()}"
    command.__doc__ = f"{before}\n{mark}{returns}{raises}{blank}{rest}".rstrip()
    return command


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
    """Return one line per experiment: its name and its question.

    >>> describe_experiments().count("\\n") + 1 == max(1, len(experiments()))
    True
    """
    width = max(map(len, experiments()), default=0)
    return "\n".join(f"{name:<{width}}  {one.question}" for name, one in experiments().items())


def _drawn(result: Any, path: Path) -> list[Path]:
    from landscape import plots

    drawn = result.plot()
    return plots.save(getattr(drawn, "figure", drawn), path)
