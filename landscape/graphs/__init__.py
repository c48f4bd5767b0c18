"""Record what a function or network does as a graph, know its operations, cut it, and follow hidden units through it.

There are two front ends. `trace` (make_fx) records any function of tensors below autograd: the only way to see derivatives,
with shapes baked in. `landscape.graphs.exported` (torch.export) records a module above autograd: layers stay whole
(``conv2d``, not the products it is made of) and every parameter has its name. `landscape.graphs.ops` is the one table of
facts about operations that all of it reads.
"""

from landscape.graphs.convolutions import fuse_convolutions
from landscape.graphs.split import Piece, Split, extract, split
from landscape.graphs.trace import TraceError, flatten, saving_is_hooked, signature, trace

__all__ = [
    "Piece",
    "Split",
    "TraceError",
    "extract",
    "flatten",
    "fuse_convolutions",
    "saving_is_hooked",
    "signature",
    "split",
    "trace",
]
