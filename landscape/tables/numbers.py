"""How a number is written beside its uncertainty: one rule for texts, figures, HTML and LaTeX."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Measured:
    """A number with its uncertainty.

    Attributes:
        value: the number.
        error: its standard error, residual or standard deviation; `None` where it has none.
        percent: decimals of a share, which is written in per cent; 0: it is no share.
        mark: a sign behind it, such as ``=``.
    """

    value: float
    error: float | None = None
    percent: int = field(default=0, repr=False)
    mark: str = field(default="", repr=False)


@dataclass(frozen=True)
class Notation:
    """How the parts of a number are put together in one kind of text.

    Attributes:
        beside: what stands between value and error.
        power: what follows a mantissa, with ``{}`` for the exponent.
        signs: characters of plain text and what stands for them.
        around: what the whole number is set in, with ``{}`` for it.
    """

    beside: str = " ± "
    power: str = "e{}"
    signs: tuple[tuple[str, str], ...] = ()
    around: str = "{}"


TEXT = Notation()
HTML = Notation("&nbsp;±&nbsp;", "&nbsp;×&nbsp;10<sup>{}</sup>", (("-", "−"),))
LATEX = Notation(
    r" \pm ", r" \times 10^{{{}}}", (("−", "-"), ("∞", r"\infty"), ("%", r"\%"), ("≈", r"\approx")), "${}$"
)


def number_text(number: Measured, significant: int = 4, notation: Notation = TEXT) -> str:
    r"""Write a number with its uncertainty.

    Args:
        number: value and error.
        significant: digits of a number without an error.
        notation: `TEXT`, `HTML` or `LATEX`.

    >>> number_text(Measured(1234.5, 12.3)), number_text(Measured(1.5e-5, 2e-7)), number_text(Measured(1.5e-9))
    ('1234 ± 12', '(1.500 ± 0.020)e-5', '1.5e-9')
    >>> number_text(Measured(-1.5e-5, 2e-7), notation=HTML)
    '(−1.500&nbsp;±&nbsp;0.020)&nbsp;×&nbsp;10<sup>−5</sup>'
    >>> print(number_text(Measured(1.5e-5, 2e-7), notation=LATEX), number_text(Measured(0.123, 0.01, 1), notation=LATEX))
    $(1.500 \pm 0.020) \times 10^{-5}$ $12.3\% \pm 1.0\%$
    """
    mantissa, error, power = _shares(number) if number.percent else digits(number, significant)
    if mantissa == "NaN":
        return mantissa
    body = mantissa if error is None else mantissa + notation.beside + error
    if notation is not TEXT:  # an error far below its number has a power of its own
        body = re.sub(r"e([+-]\d+)", lambda found: notation.power.format(int(found[1])), body)
    if power:
        body = (body if error is None else f"({body})") + notation.power.format(power)
    body += f" {number.mark}" if number.mark else ""
    for plain, sign in notation.signs:
        body = body.replace(plain, sign)
    return notation.around.format(body)


def _shares(number: Measured) -> tuple[str, str | None, int]:
    """Write a share in per cent, without an error where it is exact."""
    if not math.isfinite(number.value):
        return digits(number)
    error = number.error if number.error is not None and number.error > 0 else None
    return f"{number.value:.{number.percent}%}", None if error is None else f"{error:.{number.percent}%}", 0


def cell(value: float | None, error: float | None = None) -> str:
    """Write one number of a table, with its error where it has one; a dash where there is nothing to say.

    >>> cell(0.25), cell(1234.5, 12.3), cell(None)
    ('0.25', '1234 ± 12', '—')
    """
    if value is None:
        return "—"
    return number_text(Measured(float(value), None if error is None else float(error)))


def interval(low: float, high: float) -> str | None:
    """Write an interval, or `None` when it is not known.

    >>> interval(-0.5, 0.25)
    '[−0.5, 0.25]'
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return None
    return f"[{low:.3g}, {high:.3g}]".replace("-", "−")


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
