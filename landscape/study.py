"""The former name of `landscape.store`, kept for scripts that import from it."""

from landscape.store import *  # noqa: F403
