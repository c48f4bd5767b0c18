"""Surfaces, directions and projections of the original loss-landscape code, as results of this package."""

from landscape.exchange.goldstein import read_goldstein as goldstein
from landscape.exchange.goldstein import read_goldstein_directions as goldstein_directions
from landscape.exchange.goldstein import read_goldstein_projection as goldstein_projection

__all__ = ["goldstein", "goldstein_directions", "goldstein_projection"]
