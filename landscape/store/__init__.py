"""The study file: every result of a study in one HDF5 file that h5py, xarray and HDFView read without this package.

A file is complete and valid, or absent: it is written as a fresh copy that replaces the old one, by one writer at a
time, while readers go on. Rows of long computations are journalled beside it as they finish. Reading executes nothing
and follows nothing out of the file.
"""

from landscape.store.check import validate
from landscape.store.encode import SCHEMA_VERSION
from landscape.store.identity import identity
from landscape.store.reader import Study, info, open_study
from landscape.store.run import Run
from landscape.store.writer import Writer, batch, describe_checkpoint, save

__all__ = [
    "SCHEMA_VERSION",
    "Run",
    "Study",
    "Writer",
    "batch",
    "describe_checkpoint",
    "identity",
    "info",
    "open_study",
    "save",
    "validate",
]
