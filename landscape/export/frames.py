"""The main table of a result, column by column: what goes into a CSV file or a data frame."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from landscape.results import (
    Comparison,
    Diagonal,
    Directions,
    Eigenpairs,
    Line,
    Placebo,
    Plane,
    Reading,
    Result,
    SamplingError,
    ScaleCurvature,
    Smoothness,
    SpectralDensity,
    Trajectory,
    Volume,
    role_of,
)

Frame = dict[str, Any]


def frame(result: Result) -> Frame:
    """Return the columns of a result's main table, all of one length.

    ``pandas.DataFrame(frame(result))`` makes a data frame of them.

    Args:
        result: any result. A plane or volume has one row a grid point with x fastest; a comparison one a recipe, seed,
            score and radius; a spectrum one an eigenvalue or grid point; a training run one a checkpoint; what is made of
            rows (scores, layers …) those; anything else one row.

    >>> x, y = np.array([0.0, 1.0]), np.array([0.0, 2.0])
    >>> plane = Plane(x=x, y=y, values={"train/loss": x + y[:, None]}, computed=np.ones((2, 2)))
    >>> {name: column.tolist() for name, column in frame(plane).items()}
    {'x': [0.0, 1.0, 0.0, 1.0], 'y': [0.0, 0.0, 2.0, 2.0], 'train/loss': [0.0, 1.0, 2.0, 3.0], 'computed': [1, 1, 1, 1]}
    """
    if isinstance(result, Plane | Volume):
        return _grid(result)
    if isinstance(result, Line):
        return {"x": result.x, **result.values}
    if isinstance(result, Comparison):
        return _comparison(result)
    if isinstance(result, Eigenpairs):
        return {"rank": np.arange(1, len(result.values) + 1), **_along_first_axis(result)}
    if isinstance(result, Trajectory):
        axes = {f"along_{number}": column for number, column in enumerate(result.points.T, start=1)}
        return {**axes, "off_plane": result.off_plane, **result.values}
    if isinstance(result, Smoothness):
        return {"gradient_norm": result.gradient_norm, "beta": result.beta}
    if isinstance(result, Placebo):
        significant = {
            f"significant/{name}": shares for name, shares in zip(result.scores, result.significant, strict=True)
        }
        return {"shift": result.shifts, "called": result.called, **significant}
    if isinstance(result, Reading):
        return _reading(result)
    if isinstance(result, Diagonal | Directions | SamplingError | ScaleCurvature | SpectralDensity):
        return _along_first_axis(result)
    listed = next((field for field in dataclasses.fields(result) if role_of(field) == "rows"), None)
    if listed is not None:
        columns = [column.name for column in dataclasses.fields(listed.metadata["row"])]
        return {name: [getattr(row, name) for row in getattr(result, listed.name) or ()] for name in columns}
    return _attributes(result)


def _grid(grid: Plane | Volume) -> Frame:
    axes = {"x": grid.x, "y": grid.y} | ({"z": grid.z} if isinstance(grid, Volume) else {})
    points = reversed(np.meshgrid(*reversed(axes.values()), indexing="ij"))  # x fastest
    values = {name: np.ravel(value) for name, value in grid.values.items()}
    computed = np.ravel(np.asarray(grid.computed) != 0).astype(int)
    return {**{name: np.ravel(at) for name, at in zip(axes, points, strict=True)}, **values, "computed": computed}


def _reading(result: Reading) -> Frame:
    columns: Frame = {"axis": list("xyz"[: len(result.window)]), "curvature": list(result.curvature)}
    if result.hessian is not None:
        columns["hessian"] = list(result.hessian)
    for tau, sides in result.half_widths.items():
        columns[f"half_width_minus/{tau}"] = [left for left, _ in sides]
        columns[f"half_width_plus/{tau}"] = [right for _, right in sides]
    return {**columns, "asymmetry": list(result.asymmetry), "roughness": list(result.roughness)}


def _comparison(result: Comparison) -> Frame:
    recipe, seed, score, radius = np.indices(result.values.shape).reshape(4, -1)
    # a score with fewer radii than others is padded with NaN, which says nothing
    kept = ~np.isnan(result.radii[score, radius]) | (radius == 0)
    recipe, seed, score, radius = (index[kept] for index in (recipe, seed, score, radius))
    where = (recipe, seed, score, radius)
    return {
        "recipe": [result.recipes[i] for i in recipe],
        "seed": seed,
        "score": [result.scores[i] for i in score],
        "radius": result.radii[score, radius],
        "value": result.values[where],
        "standard_error": result.standard_errors[where],
    }


def _along_first_axis(result: Result) -> Frame:
    """Return the arrays of one dimension that share the first one's axis."""
    found = [
        (field.name, field.metadata["dims"], getattr(result, field.name))
        for field in dataclasses.fields(result)
        if role_of(field) == "array" and len(field.metadata["dims"]) == 1
    ]
    return {name: np.asarray(value) for name, dims, value in found if dims == found[0][1] and value is not None}


def _attributes(result: Result) -> Frame:
    fields = [field for field in dataclasses.fields(result) if role_of(field) == "attribute"]
    return {field.name: [getattr(result, field.name)] for field in fields if field.name != "provenance"}
