"""Defects of published reference code, each with the test that would fail if this package had it."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls
from landscape.scores.apgd import maximize
from landscape.scores.learning_coefficient import llc
from landscape.scores.noise_tolerance import inverse_sigma_mag
from landscape.scores.pac_bayes import bound, pac_bayes

TESTS = Path(__file__).parents[1]

DEFECTS = {
    # tml-epfl/sharpness-vs-generalization, sharpness.py
    "a reduced step resets the model but not the stored perturbation": (
        "scores/test_apgd.py::test_a_halved_step_restarts_the_perturbation_from_the_best_point"
    ),
    "random starts crash": "scores/test_adaptive_worst.py::test_box_on_a_diagonal_quadratic_at_its_minimum",
    "a weight of exactly zero silently switches the projection off": (
        "scores/test_sam.py::test_zero_weights_do_not_lift_the_constraint"
    ),
    "the perturbation is undefined when nothing improves": (
        "scores/test_reference_defects.py::test_an_ascent_that_never_improves_returns_its_start"
    ),
    "the last iterate is returned, not the best": "scores/test_apgd.py::test_returns_the_best_point_met_not_the_last",
    # nitarshan/robust-generalization-measures, measures.py
    "a variance is passed where a standard deviation is expected": (
        "scores/test_noise_tolerance.py::test_isotropic_noise_is_a_standard_deviation"
    ),
    "magnitude-aware noise has its variance as standard deviation": (
        "scores/test_noise_tolerance.py::test_absolute_noise_adds_in_quadrature"
    ),
    "the bounds divide by four standard deviations": "scores/test_pac_bayes.py::test_bound_divides_by_four_variances",
    "an error that falls counts as one that rises": (
        "scores/test_noise_tolerance.py::test_an_error_that_falls_is_not_a_rise"
    ),
    "the search stops at 2": "scores/test_noise_tolerance.py::test_levels_above_two_are_found",
    "norms leave out the biases that the noise moves": (
        "scores/test_reference_defects.py::test_norms_and_noise_cover_the_same_parameters"
    ),
    # kampmichael/RelativeFlatnessAndGeneralization
    "features are divided by their variance": (
        "scores/test_relative_flatness.py::test_features_are_divided_by_the_deviation_not_the_variance"
    ),
    "dead features divide by zero": "scores/test_relative_flatness.py::test_dead_features_do_not_break_the_invariance",
    "a norm that is not squared breaks the invariance to layer scale": "scores/test_table.py::test_pattern_of_invariance",
    "the eigenvalue form multiplies a norm, not its square": (
        "scores/test_relative_flatness.py::test_largest_eigenvalue_form_by_brute_force"
    ),
    # devansh20la/LPF-SGD, local_entropy.py
    "the noise has deviation 1/γ, and one log γ instead of P": "scores/test_low_pass.py::test_local_entropy_of_a_quadratic",
    "the ascent follows the gradient's line only": "scores/test_keskar.py::test_full_space_on_a_diagonal_quadratic",
    "batch means are averaged whatever their sizes": (
        "scores/test_reference_defects.py::test_a_short_last_batch_weighs_what_it_holds"
    ),
    # ravidziv/IDNNs, plot_gradients.py
    "the standard deviation is square-rooted twice, the ratio divides by it": (
        "scores/test_gradient_noise.py::test_covariance_noise_scale_and_layer_ratios"
    ),
    "statistics of a layer accumulate those before it": (
        "scores/test_gradient_noise.py::test_layers_have_their_own_statistics"
    ),
    # rfangit/minima-volume-project
    "filters are multiplied by a norm without dividing by the noise's": (
        "scores/test_adaptive_curvature.py::test_filter_directions_have_the_length_of_the_filters"
    ),
    "radii are measured in unnormalised perturbations": (
        "scores/test_radius.py::test_radius_along_a_direction_of_a_quadratic"
    ),
    "directions that never cross are discarded": (
        "scores/test_radius.py::test_a_direction_that_never_crosses_is_censored_not_dropped"
    ),
    # timaeus-research/devinterp
    "n·β comes from the batch size": (
        "scores/test_learning_coefficient.py::test_n_beta_is_that_of_the_data_not_of_the_batch"
    ),
    "the loss at the weights comes from a few batches": (
        "scores/test_reference_defects.py::test_the_loss_at_the_weights_is_that_of_all_data"
    ),
    "dropout and batch norm are active while sampling": (
        "scores/test_learning_coefficient.py::test_network_stays_in_evaluation_mode"
    ),
    # EleutherAI/basin-volume
    "the mean is that of the largest sample, and no error says so": (
        "scores/test_reference_defects.py::test_a_volume_dominated_by_one_direction_has_a_large_error"
    ),
    "perturbed parameters are written in place": (
        "scores/test_reference_defects.py::test_no_score_writes_into_the_network"
    ),
    # SamsungLabs/ASAM, davda54/sam
    "a constant is added to every weight, and biases are not scaled": (
        "scores/test_sam.py::test_adaptive_step_on_a_quadratic"
    ),
    "m is whatever a device gets": (
        "scores/test_adaptive_worst.py::test_sub_batches_are_cut_by_index_not_by_the_objectives_batches"
    ),
}
"""Defect → the test that guards against it."""


@pytest.mark.parametrize("where", sorted(set(DEFECTS.values())))
def test_every_defect_has_its_test(where):
    file, _, name = where.partition("::")
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_an_ascent_that_never_improves_returns_its_start():
    start = torch.ones(3).double()
    initial, best, where = maximize(
        lambda x: (-(x - 1).square().sum(), torch.ones_like(x)), torch.sign, lambda x: x, start, 1.0
    )
    assert float(initial) == float(best) == 0.0
    assert torch.equal(where, start)


def test_norms_and_noise_cover_the_same_parameters(classifier):
    """Selecting the weights leaves the biases out of both; with all parameters they are in both."""
    objective = classifier()
    init = {name: 0.5 * tensor for name, tensor in objective.model.state_dict().items()}
    made = ls.Checkpoint(objective.model, loss="cross_entropy", train=objective.batches[0].raw, init=init)
    part = ls.Objective(objective.model, objective.batches[0].raw, "cross_entropy", parameters="*.weight")
    for one in (objective, part):
        rows = {row.name: row.value for row in pac_bayes(one, checkpoint=made)}
        sigma = ls.scores.inverse_sigma(one)[0].value ** -0.5
        assert rows["pac-bayes-orig"] == pytest.approx(bound(float(one.theta.square().sum()), sigma, one.n))


def test_a_short_last_batch_weighs_what_it_holds(classifier):
    """60 examples in batches of 59 and 1."""
    values = [
        [row.value for row in ls.scores.trace_and_norm(classifier(batch_size=size), matvecs=10)] for size in (59, 60)
    ]
    np.testing.assert_allclose(values[0], values[1], rtol=1e-9)


def test_the_loss_at_the_weights_is_that_of_all_data():
    """A chain that cannot move has λ̂ = 0 up to its minibatches' noise, whose mean over many draws vanishes."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(50, 1, generator=generator).double()
    objective = ls.Objective(nn.Linear(1, 1).double(), (torch.zeros(50, 1).double(), y), "mse_loss")
    at = objective.at(torch.tensor([0.0, float(y.mean())]).double())
    (whole,) = llc(at, chains=1, draws=3, burn_in=0, step=1e-20)
    assert whole.value == pytest.approx(0, abs=1e-6)
    (part,) = llc(at, chains=2, draws=400, burn_in=0, step=1e-20, subset=5)
    spread = 50 / np.log(50) * float((y - y.mean()).square().std()) / np.sqrt(2 * 400 * 5)
    assert abs(part.value) < 4 * spread


def test_a_volume_dominated_by_one_direction_has_a_large_error(classifier):
    row = ls.scores.local_volume(classifier(), directions=20)[0]
    assert "lower bound" in row.note
    assert 0.3 < row.standard_error <= 1.0  # of a mean that one of twenty samples makes: nearly its whole size


def test_no_score_writes_into_the_network(classifier):
    objective = classifier()
    before = {name: tensor.clone() for name, tensor in objective.model.state_dict().items()}
    versions = [p._version for p in objective.model.parameters()]
    ls.sharpness(objective, ["local-volume", "kl-radius", "inverse-sigma-mag", "lpf", "keskar"])
    assert all(torch.equal(before[name], tensor) for name, tensor in objective.model.state_dict().items())
    assert [p._version for p in objective.model.parameters()] == versions
    assert inverse_sigma_mag(objective)[0].value == inverse_sigma_mag(objective)[0].value
