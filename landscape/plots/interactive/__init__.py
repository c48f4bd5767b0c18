"""Figures to turn, zoom and read values off, by plotly (extra ``[interactive]``); each saves as one HTML page.

They share levels, colours and markers with the figures of `landscape.plots`, so that a page and a paper agree.

>>> import numpy as np
>>> from landscape.results import Plane
>>> x = np.linspace(-1, 1, 5)
>>> bowl = Plane(x=x, y=x, values={"train/loss": x**2 + x[:, None] ** 2}, computed=np.ones((5, 5)))
>>> surface({"sgd": bowl}).layout.annotations[0].text
'sgd'
"""

from landscape.plots.interactive.pages import save
from landscape.plots.interactive.planes import plane
from landscape.plots.interactive.spectra import density, eigenvalues
from landscape.plots.interactive.surfaces import surface
from landscape.plots.interactive.trajectories import trajectory

__all__ = ["density", "eigenvalues", "plane", "save", "surface", "trajectory"]
