"""One rounding rule: the second digit of the error decides, whatever the size of the number."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from landscape.tables import Measured, digits, number_text, over_seeds, spread
from landscape.tables.text import cell_text

sizes = st.floats(-12, 12)


@given(st.floats(-1, 1), sizes, st.floats(1, 9.99), sizes)
def test_what_is_shown_is_within_half_a_unit_of_the_last_place(mantissa, power, error_mantissa, error_power):
    value, error = mantissa * 10**power, error_mantissa * 10**error_power
    shown, error_shown, unit = digits(Measured(value, error))
    assert abs(float(shown) * 10.0**unit - value) <= 0.0501 * error + 1e-5 * abs(value) * (error < 1e-6 * abs(value))
    assert float(error_shown) * 10.0**unit == pytest.approx(error, rel=0.051)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([1.0, 3.0], "2.0 ± 1.4"),
        ([0.01, 0.01 + 2e-9], "0.01 ± 1.4e-09"),
        ([0.001 - 1e-12, 0.001 - 3e-12], "0.001 ± 1.4e-12"),
        ([9.99999e-5], "1e-4"),
        ([5.0, 5.0], "5"),
        ([math.nan, 7.25], "7.25"),
        ([math.nan, math.inf], "—"),
        ([-2e-6, -4e-6], "(-3.0 ± 1.4)e-6"),
        ([123456.0], "1.235e5"),
    ],
)
def test_spread_over_seeds(values, text):
    assert spread(values) == text


def test_a_single_seed_has_no_deviation():
    assert over_seeds([2.0]) == Measured(2.0)
    assert number_text(Measured(2.0)) == "2"


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (Measured(12345.6, 23.0), "12346 ± 23"),
        (Measured(1.5e6, 2e4), "(1.500 ± 0.020)e6"),
        (Measured(0.0, 0.5), "0.00 ± 0.50"),
        (Measured(math.nan, 0.1), "NaN"),
        (Measured(math.inf, math.nan), "∞"),
        (Measured(2.5, 0.0), "2.5"),
        (Measured(1.02, 0.05, mark="≈"), "1.020 ± 0.050 ≈"),
        ("text", "text"),
        (None, "—"),
        (1234567.0, "1.23e6"),
        (1234567, "1234567"),
    ],
)
def test_cells(cell, text):
    assert cell_text(cell, 3) == text
