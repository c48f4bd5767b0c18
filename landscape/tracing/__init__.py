"""Trace a function, cut its graph by what it depends on, and choose what to keep between the parts."""

from landscape.tracing.split import Split, split
from landscape.tracing.trace import TraceError, flatten, signature, trace

__all__ = ["Split", "TraceError", "flatten", "signature", "split", "trace"]
