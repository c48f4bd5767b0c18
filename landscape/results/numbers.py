"""How a number is written beside its uncertainty: one rule for texts, figures, HTML and LaTeX."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Measured:
    """A number with its uncertainty.

    Attributes:
        value: the number.
        error: its standard error, residual or standard deviation; `None` where it has none.
    """

    value: float
    error: float | None = None


def over_seeds(values: Iterable[float]) -> Measured | None:
    """Return mean and standard deviation of the finite values; `None` when there are none.

    >>> over_seeds([1.0, 3.0, float("nan")])
    Measured(value=2.0, error=1.4142135623730951)
    """
    finite = np.asarray([*values], dtype=float)
    finite = finite[np.isfinite(finite)]
    if finite.size == 0:
        return None
    return Measured(float(finite.mean()), float(finite.std(ddof=1)) if finite.size > 1 else None)


def digits(number: Measured, significant: int = 4) -> tuple[str, str | None, int]:
    """Round a number to the second digit of its error, or to so many significant ones.

    Args:
        number: value and error.
        significant: digits of a number without an error.

    Returns:
        Mantissa, error in the same unit (`None` without one), and the power of ten that both are multiplied by. An error
        below a millionth of the number is written with its own power, as ``6.6e-10``, and the number with six digits.

    >>> digits(Measured(1234.5, 12.3)), digits(Measured(1.5e-5, 2e-7)), digits(Measured(0.25)), digits(Measured(1.5e-9))
    (('1234', '12', 0), ('1.500', '0.020', -5), ('0.25', None, 0), ('1.5', None, -9))
    >>> digits(Measured(0.25, 6.6e-10))
    ('0.25', '6.6e-10', 0)
    """
    value, error = number.value, number.error
    if not math.isfinite(value):
        return ("NaN" if math.isnan(value) else "∞" if value > 0 else "−∞"), None, 0
    if error is None or not math.isfinite(error) or error <= 0:
        power = _power(_rounded(abs(value), significant))
        return f"{value / 10.0**power:.{significant}g}", None, power
    power = _power(_rounded(max(abs(value), error), 6))
    unit = 10.0**power
    if error < 1e-6 * abs(value):
        return f"{value / unit:.6g}", f"{error / unit:.2g}", power
    places = max(0, 1 - math.floor(math.log10(error / unit)))
    return f"{value / unit:.{places}f}", f"{error / unit:.{places}f}", power


def number_text(number: Measured, significant: int = 4) -> str:
    """Write a number with its uncertainty as plain text.

    Args:
        number: value and error.
        significant: digits of a number without an error.

    >>> number_text(Measured(1234.5, 12.3)), number_text(Measured(1.5e-5, 2e-7)), number_text(Measured(1.5e-9))
    ('1234 ± 12', '(1.500 ± 0.020)e-5', '1.5e-9')
    """
    mantissa, error, power = digits(number, significant)
    body = mantissa if error is None else f"{mantissa} ± {error}"
    if power == 0:
        return body
    return f"{body if error is None else f'({body})'}e{power}"


def spread(values: Iterable[float]) -> str:
    """Write mean ± standard deviation of the finite values; a dash when there are none.

    >>> spread([1.0, 3.0]), spread([2.0]), spread([])
    ('2.0 ± 1.4', '2', '—')
    """
    found = over_seeds(values)
    return "—" if found is None else number_text(found)


def duration(seconds: float) -> str:
    """Write a time in the unit that a person would use.

    >>> duration(0.0391), duration(32.5), duration(150.4), duration(4010)
    ('0.0391 s', '32.5 s', '2 min 30 s', '1 h 6 min')
    """
    if not 99.95 <= seconds < math.inf:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _rounded(size: float, significant: int) -> float:
    """Round as the text will be: 9.99999e-5 is written as 1e-4; the largest floats stay finite."""
    return min(float(f"{size:.{significant}g}"), sys.float_info.max)


def _power(size: float) -> int:
    """Return the power of ten that a number is written with; 0 where plain digits can be read."""
    exponent = max(math.floor(math.log10(size)), -300) if size > 0 else 0  # below, 10**power is zero
    return 0 if -4 < exponent < 5 else exponent
