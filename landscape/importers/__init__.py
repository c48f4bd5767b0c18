"""Grids that other toolkits have written, as results of this package. Nothing in a file is executed or followed.

===================  ==========================================================================================
function             reads
===================  ==========================================================================================
`goldstein`          surface files of the original loss-landscape code and of those who copied its names
`losscape`           ``data.h5`` of losscape
`landscaper`         ``.npz`` files of Landscaper
`mode_connectivity`  ``plane.npz`` of dnn-mode-connectivity
`vits_work`          CSV files of how-do-vits-work
===================  ==========================================================================================

Accuracies become shares between 0 and 1, losses are what those tools call loss, and every result says in its provenance
which tool and file it came from. ``goldstein_directions`` and ``goldstein_projection`` read the files beside a surface.
"""

from landscape.importers.goldstein import goldstein, goldstein_directions, goldstein_projection
from landscape.importers.landscaper import landscaper
from landscape.importers.losscape import losscape
from landscape.importers.mode_connectivity import mode_connectivity
from landscape.importers.vits_work import vits_work

__all__ = [
    "goldstein",
    "goldstein_directions",
    "goldstein_projection",
    "landscaper",
    "losscape",
    "mode_connectivity",
    "vits_work",
]
