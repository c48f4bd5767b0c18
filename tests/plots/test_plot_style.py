import subprocess
import sys

import matplotlib
import pytest

from landscape import plots
from landscape.errors import LandscapeError
from landscape.plots.style import ink
from landscape.results import KINDS


def test_the_style_embeds_fonts_and_goes_away():
    before = matplotlib.rcParams["pdf.fonttype"]
    with plots.style(axes_linewidth=2.0):
        assert matplotlib.rcParams["pdf.fonttype"] == 42
        assert matplotlib.rcParams["axes.linewidth"] == 2.0
    assert matplotlib.rcParams["pdf.fonttype"] == before
    with pytest.raises(LandscapeError, match="axes_width"), plots.style(axes_width=1):
        pass


def test_the_style_goes_away_also_after_an_error(valley):
    with pytest.raises(LandscapeError):
        plots.contour(valley, limit=-1.0)
    assert matplotlib.rcParams["font.size"] == matplotlib.rcParamsDefault["font.size"]


def test_figures_have_the_width_of_columns(valley):
    assert plots.contour(valley).figure.get_figwidth() == plots.SINGLE == 3.25
    assert plots.grid({"a": valley, "b": valley}).get_figwidth() == plots.DOUBLE == 6.75


def test_ink_is_readable():
    assert (ink("white" and (1, 1, 1)), ink((0, 0, 0.3)), ink((0.99, 0.9, 0.14))) == ("black", "white", "black")


def test_every_kind_that_can_be_drawn_exists():
    assert set(plots.KINDS) - {"scores", "comparison"} <= set(KINDS)


def test_plot_dispatches_on_the_kind(valley, directions, ax):
    assert valley.plot(ax=ax, levels=4) is ax
    assert directions().plot().get_title() == "gaussian directions"


def test_figures_load_neither_torch_nor_pyplot():
    code = "import sys, landscape.plots; sys.exit('torch' in sys.modules or 'matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
