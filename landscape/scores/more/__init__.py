"""Rare scores, one file per idea: every module of this folder enters its scores into the register."""

import importlib
import pkgutil

for module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{module.name}")
