"""What the package raises when an input is wrong: one line that says what, what was expected and what to do."""


class LandscapeError(ValueError):
    """A wrong input, a file that cannot be used, or a request that cannot be met.

    The message is one line: what was wrong, what was expected, what to do. The command line prints it and exits with 2.
    """


class NotDefinedError(LandscapeError):
    """A quantity that has no meaning for this objective, such as 0–1 error on a regression."""


class NumericalError(LandscapeError, ArithmeticError):
    """The computation met NaN or infinity, or an operator that is not what it claims to be."""
