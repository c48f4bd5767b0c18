"""Where public names live; each is imported when it is first used, so that ``landscape --help`` does not wait for torch.

Results are the lowest floor of the house and yet save, draw and report themselves. They call such verbs by name, and the
table below is the only place that knows the rooms upstairs.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_NAMES = {
    "errors": "LandscapeError NotDefinedError NumericalError",
    "bars": "progress",
    "results": "Directions Eigenpairs Estimate Line Plane SpectralDensity Trials",
    "function.forward": "Functional",
    "function.losses": "BatchLoss",
    "function.objective": "Objective",
    "function.checkpoint": "Checkpoint",
    "operators": "EmpiricalFisher Fisher GaussNewton GradientCovariance Hessian scaled",
    "spectra": "by_layer diagonal frobenius_norm spectral_density top_eigenpairs trace",
    "slices": "align barriers connect direction_between eigen_directions interpolate line plane plane_through "
    "random_directions read_slice scale_curvature topology trajectory_plane volume",
    "scores": "audit critical_point sharpness",
    "training.tracker": "Tracker",
    "comparison": "compare evidence placebo",
    "store": "Run open_study",
    "studies.zoo": "zoo",
}
HOME = {name: module for module, names in _NAMES.items() for name in names.split()}
"""The module of each name that the package itself hands out."""

_ROOMS = "datasets experiments exchange export importers models operators plots report scores slices spectra store transforms"
MODULES = _ROOMS.split()
"""The rooms that ``import landscape as ls`` reaches as ``ls.plots``."""

VERBS = {
    "save": "store:save",
    "plot": "plots:plot",
    "thumbnail": "plots.thumbnails:thumbnail",
    "contrast": "statistics.contrasts:contrast",
    "interval": "statistics.intervals:student_interval",
    "resmooth": "spectra.density:resmooth",
}
"""What results and studies do with themselves: ``module:function`` for each verb."""


def verb(name: str) -> Any:
    """Return the function behind a verb of results.

    >>> verb("interval").__name__
    'student_interval'
    """
    module, _, function = VERBS[name].partition(":")
    return getattr(import_module(f"landscape.{module}"), function)
