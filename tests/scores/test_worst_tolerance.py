import pytest
import torch

from landscape.errors import NotDefinedError
from landscape.scores.worst_tolerance import inverse_alpha, inverse_alpha_mag


def test_box_in_which_a_tenth_of_the_decisions_flip(each):
    """Weights 0.01 … 1.00: a box of half-width a turns the decisions of all weights below a."""
    weights = torch.arange(1, 1001) / 1000
    (row,) = inverse_alpha(each(weights))
    assert row.value == pytest.approx(0.1**-2, rel=0.02)
    assert row.standard_error is None or row.standard_error == 0


def test_box_in_keskars_form(each):
    """|u| ≤ a(|w| + 1) reaches −w for w ≤ a/(1 − a): a tenth of the weights at a/(1 − a) = 0.1."""
    weights = torch.arange(1, 1001) / 1000
    (row,) = inverse_alpha_mag(each(weights))
    assert row.value == pytest.approx((0.1 / 1.1) ** -2, rel=0.02)


def test_worst_case_is_sharper_than_the_average(classifier):
    from landscape.scores.noise_tolerance import inverse_sigma

    objective = classifier()
    assert inverse_alpha(objective)[0].value > inverse_sigma(objective)[0].value


def test_regression_has_no_error(regression):
    for compute in (inverse_alpha, inverse_alpha_mag):
        with pytest.raises(NotDefinedError, match="0–1 error"):
            compute(regression)
