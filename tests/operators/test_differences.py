"""A hundred networks by every program: products are differences of gradients, or are refused in one line."""

import importlib.util
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
try:
    _spec = importlib.util.spec_from_file_location("products", BENCHMARKS / "products.py")
    products = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(products)
finally:
    sys.path.remove(str(BENCHMARKS))
QUICK = ("hardsigmoid", "padding that is not zero", "script", "stopped gradient", *products.SOMEWHERE)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("program", products.PROGRAMS)
@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in products.NETWORKS]
)
def test_products_are_differences_of_gradients_or_refused(name, program):
    found = products.outcome(name, program)
    if isinstance(found, str):
        assert "\n" not in found
        assert name in (*products.REFUSED, *products.SOMEWHERE) or program == "split"  # which may not be traced
    else:
        assert found < 1e-6
        assert name not in products.REFUSED


def test_there_are_a_hundred():
    assert len(products.NETWORKS) >= 100
