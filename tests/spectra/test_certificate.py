"""What the search after convergence finds, what it promises, and what it says when it cannot end."""

import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls
from landscape.errors import LandscapeError, NumericalError
from landscape.spectra import top_eigenpairs
from landscape.spectra.goal import select
from landscape.store import open_study

WIDE = np.concatenate([[-9.0, -4.0, 7.0, 6.0, 5.0], np.linspace(-1, 1, 95)])


def squared_error(net, width, classes, dtype):
    """Return the Hessian of a linear layer with squared error: every eigenvalue is there once for each class."""
    generator = torch.Generator().manual_seed(1)
    X = torch.randn(90, width, generator=generator) * torch.linspace(1, 0.2, width)
    objective = ls.Objective(net, (X, torch.randn(90, classes, generator=generator)), "mse_loss", dtype=dtype)
    return ls.Hessian(objective)


def linear(dtype=torch.float64):
    torch.manual_seed(0)
    return squared_error(nn.Linear(24, 6), 24, 6, dtype)


def head(dtype=torch.float64):
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(16, 12), nn.Tanh()).requires_grad_(False)
    return squared_error(nn.Sequential(body, nn.Linear(12, 10)), 16, 10, dtype)


def copies():
    block = torch.randn(40, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return torch.block_diag(*[block + block.T] * 3)


def low_rank(values, rest, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    rows = torch.linalg.qr(torch.randn(150, len(values), dtype=torch.float64, generator=generator))[0].T
    return (rest * torch.eye(150) + rows.T @ torch.diag(torch.tensor(values)).double() @ rows).to(dtype)


MULTIPLE = {
    "linear": (linear, 5, "LA"),
    "linear, float32": (lambda: linear(torch.float32), 5, "LA"),
    "head": (head, 10, "LA"),
    "head, float32": (lambda: head(torch.float32), 10, "LA"),
    **{f"copies, {which}": (copies, 5, which) for which in ("LA", "SA", "LM", "BE")},
    "projector": (lambda: low_rank([1.0] * 30, 0), 5, "LA"),
    "identity and rank 3": (lambda: low_rank([5.0, 5.0, 2.0], 1), 5, "LA"),
    "identity and rank 3, float32": (lambda: low_rank([5.0, 5.0, 2.0], 1, torch.float32), 5, "LA"),
}


@pytest.mark.parametrize("certify", ["check", 0.99])
@pytest.mark.parametrize("name", MULTIPLE)
def test_multiple_eigenvalues_come_out_as_often_as_they_are_there(name, certify):
    make, k, which = MULTIPLE[name]
    operator = make()
    dense = (operator if isinstance(operator, torch.Tensor) else operator.dense()).double().numpy()
    truth = np.linalg.eigvalsh(dense)
    pairs = top_eigenpairs(operator, k, which, certify=certify)
    assert pairs.converged
    np.testing.assert_allclose(pairs.values, truth[select(truth, which, k)], rtol=1e-4)
    assert np.abs(pairs.vectors @ pairs.vectors.T - np.eye(k)).max() < 1e-5
    measured = np.linalg.norm(pairs.vectors @ dense - pairs.values[:, None] * pairs.vectors, axis=1)
    np.testing.assert_allclose(pairs.residuals, measured, rtol=1e-2, atol=1e-5)
    if certify == "check":
        assert pairs.certificate == "checked"
    else:
        assert pairs.certificate == "certified"
        assert pairs.missed_probability <= 0.01


def test_a_run_without_a_check_may_miss_them_and_says_that_it_does_not_know():
    pairs = top_eigenpairs(linear(), 5, certify="off")
    assert pairs.values[1] < 0.95 * pairs.values[0]
    assert (pairs.certificate, pairs.check_matvecs) == ("residuals", 0)
    assert "complete   unknown" in repr(pairs)
    assert "complete   checked: an eigenvalue more than 10% above the last" in repr(top_eigenpairs(linear(), 5))


def test_a_warm_start_that_holds_one_copy_finds_the_others():
    operator = linear()
    first = top_eigenpairs(operator, 1)
    pairs = top_eigenpairs(operator, 6, start=first)
    np.testing.assert_allclose(pairs.values, first.values[0], rtol=1e-5)


def test_what_needs_no_check_adds_a_few_products_and_moves_no_digit(matrix_with):
    matrix = matrix_with(WIDE)
    for which in ("LA", "SA", "LM", "BE"):
        bare, checked = (top_eigenpairs(matrix, 2, which, certify=certify) for certify in ("off", "check"))
        np.testing.assert_array_equal(bare.vectors, checked.vectors)
        np.testing.assert_array_equal(bare.values, checked.values)
        assert checked.matvecs == bare.matvecs + checked.check_matvecs
        assert 1 <= checked.check_matvecs <= 6


def random_spectrum(draws):
    """Return eigenvalues with a bulk, and outliers some of which are many times there or all but equal."""
    size = int(draws.integers(70, 160))
    bulk = [
        0.3 * draws.normal(size=size), 0.2 * draws.exponential(size=size), np.maximum(draws.random(size) - 0.7, 0)
    ][draws.integers(3)]  # fmt: skip
    outliers = draws.random(int(draws.integers(1, 9))) * 3 + 0.5
    for value in outliers.copy():
        kind, more = draws.integers(4), int(draws.integers(1, 5))
        if kind == 1:
            outliers = np.append(outliers, [value] * more)
        if kind == 2:
            outliers = np.append(outliers, value * (1 - 10.0 ** -draws.integers(2, 8) * draws.random(more)))
    bulk[: len(outliers)] = outliers * np.where(draws.random(len(outliers)) < 0.8, 1, -1)
    return bulk


def misses(matrix_with, certify, count, level=0.1):
    """Count results that lack an eigenvalue which is beyond their own by more than the margin."""
    missed = 0
    for seed in range(count):
        draws = np.random.default_rng(seed)
        spectrum, which, k = random_spectrum(draws), ["LA", "LM", "SA", "BE"][seed % 4], int(draws.integers(1, 9))
        values = top_eigenpairs(
            matrix_with(spectrum, seed), k, which, seed=seed, certify=certify, margin=level, vectors=False
        ).values
        truth = spectrum[select(spectrum, which, k)]
        missed += bool(np.any(np.abs(truth) > (1 + level) * np.abs(values) + 1e-9))
    return missed


def test_a_check_finds_what_bare_runs_miss(matrix_with):
    assert misses(matrix_with, "off", 24) > 3
    assert misses(matrix_with, "check", 24) == 0


@pytest.mark.slow
def test_a_certificate_is_wrong_as_rarely_as_it_promises(matrix_with):
    assert misses(matrix_with, 0.99, 500) <= 5


@pytest.mark.parametrize("block_size", [1, 3])
def test_the_bound_holds_for_a_hidden_eigenvalue(matrix_with, block_size):
    """At a level that allows many misses: of what one search of a space with an eigenvalue to find concludes."""
    spectrum = np.concatenate([[1.0, 1.0], np.linspace(-0.6, 0.85, 98)])
    missed = [
        top_eigenpairs(matrix_with(spectrum), 2, certify=0.7, block_size=block_size, seed=seed).values[1] < 0.9
        for seed in range(60)
    ]
    assert np.mean(missed) <= 0.3


def test_the_whole_space_leaves_nothing_to_miss(matrix_with):
    for k, spectrum in ((3, np.arange(20.0)), (70, np.arange(70.0)), (69, [1.0] * 70)):
        pairs = top_eigenpairs(matrix_with(spectrum), k, max_basis=70, certify=0.99)
        np.testing.assert_allclose(pairs.values, np.sort(spectrum)[::-1][:k], rtol=1e-9, atol=1e-12)
        assert pairs.certificate in ("complete", "certified")
        assert pairs.missed_probability <= 0.01


def test_a_budget_too_small_leaves_the_pairs_and_says_so(matrix_with):
    bare = top_eigenpairs(matrix_with(WIDE), 3, certify="off")
    pairs = top_eigenpairs(matrix_with(WIDE), 3, certify=0.999999, max_matvecs=bare.matvecs + 2)
    assert pairs.converged
    assert pairs.matvecs <= bare.matvecs + 2
    assert pairs.certificate == "residuals"
    assert "max_matvecs" in pairs.check_message
    full = top_eigenpairs(matrix_with(np.linspace(0, 1, 400)), 3, certify=0.99, margin=1e-6, max_basis=30)
    assert "max_basis=30 is full: raise it" in full.check_message
    hasty = top_eigenpairs(matrix_with(np.linspace(0, 1, 400)), 4, tol=1e-8, max_matvecs=30)
    assert (hasty.certificate, hasty.check_message) == ("residuals", "not checked: the pairs did not converge")
    nothing = top_eigenpairs(torch.zeros(100, 100), 2, certify=0.99)
    assert (nothing.certificate, nothing.check_message) == (
        "residuals", "the check did not end: λ_k is zero, and so is any share of it",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (lambda product: product * float("nan"), "holds NaN or infinity"),
        (lambda product: product + torch.linspace(0, 3, 100, dtype=torch.float64), "not symmetric"),
    ],
)
def test_products_that_break_in_the_check_leave_the_pairs(matrix_with, counting, broken, told):
    bare = top_eigenpairs(matrix_with(WIDE), 3, certify="off")
    late = counting(matrix_with(WIDE), lambda count, product: broken(product) if count > bare.matvecs else product)
    pairs = top_eigenpairs(late, 3, certify=0.999999)
    np.testing.assert_array_equal(pairs.values, bare.values)
    assert (pairs.converged, pairs.certificate) == (True, "residuals")
    assert told in pairs.check_message
    with pytest.raises(NumericalError, match=told):
        top_eigenpairs(counting(matrix_with(WIDE), lambda count, product: broken(product) if count > 3 else product), 3)


def test_a_run_killed_in_its_check_goes_on_to_the_same_result(counting, tmp_path):
    matrix, save = copies(), (tmp_path / "study.h5", "sgd-0/top4")
    whole = top_eigenpairs(counting(matrix), 4, certify=0.99)
    searched = whole.matvecs - whole.check_matvecs

    def kill(count, product):
        if count > searched + 5:
            raise KeyboardInterrupt
        return product

    with pytest.raises(KeyboardInterrupt):
        top_eigenpairs(counting(matrix, kill), 4, certify=0.99, save=save)
    operator = counting(matrix)
    top_eigenpairs(operator, 4, certify=0.99, save=save)
    assert operator.count == whole.check_matvecs + 4 + 1  # measures again; one product tells what is multiplied
    stored = open_study(save[0])["sgd-0/top4"]
    np.testing.assert_array_equal(stored.values, whole.values)
    assert (stored.certificate, stored.matvecs) == ("certified", whole.matvecs)
    assert stored.missed_probability == whole.missed_probability


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"certify": "surely"}, "use 'check', 'off' or a probability such as 0.99"),
        ({"certify": 1.0}, "use 'check', 'off' or a probability"),
        ({"certify": True}, "use 'check', 'off' or a probability"),
        ({"margin": 0.0}, "use margin > 0"),
        ({"which": "SM"}, "use 'LA'"),
    ],
)
def test_wrong_options_name_the_remedy(options, told):
    with pytest.raises(LandscapeError, match=told):
        top_eigenpairs(torch.eye(3), 1, **options)
