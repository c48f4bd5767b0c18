"""Trace a function, cut its graph by what it depends on, and choose what to keep between the parts."""

from landscape.graphs.context import inside_transform, saving_is_hooked
from landscape.graphs.convolutions import fuse_convolutions
from landscape.graphs.split import Split, split
from landscape.graphs.trace import TraceError, flatten, signature, trace

__all__ = [
    "Split",
    "TraceError",
    "flatten",
    "fuse_convolutions",
    "inside_transform",
    "saving_is_hooked",
    "signature",
    "split",
    "trace",
]
