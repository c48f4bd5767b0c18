"""Small real data in the package, and readers for standard files the user already has; nothing is ever downloaded."""

from landscape.datasets.digits import digits
from landscape.datasets.files import cifar10_binary, mnist_idx
from landscape.datasets.mnist1d import mnist1d
from landscape.datasets.planar import kink, slab, spirals
from landscape.datasets.split import Split, fingerprint

__all__ = ["Split", "cifar10_binary", "digits", "fingerprint", "kink", "mnist1d", "mnist_idx", "slab", "spirals"]
