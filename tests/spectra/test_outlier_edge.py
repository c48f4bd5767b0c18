import numpy as np
import pytest
import torch
from torch.nn import functional as F

import landscape as ls
from landscape.errors import LandscapeError
from landscape.spectra import outlier_edge, top_eigenpairs


def mixture(classes, seed, steps=200, separation=3.0, examples=2000, width=20):
    """Train a small MLP on Gaussian classes around orthogonal means that overlap a little; return its objective."""
    generator = torch.Generator().manual_seed(seed)
    means = separation * torch.linalg.qr(torch.randn(20, classes, generator=generator))[0].T
    y = torch.arange(examples) % classes
    X = (means[y] + torch.randn(examples, 20, generator=generator)).double()
    net = ls.models.mlp((20, width, width, classes), seed=seed).double()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for _ in range(steps):
        optimiser.zero_grad()
        F.cross_entropy(net(X), y).backward()
        optimiser.step()
    return ls.Objective(net, (X, y), "cross_entropy", batch_size=examples)


@pytest.mark.parametrize(("classes", "seed"), [(3, 0), (5, 0), (8, 0)])
def test_classes_of_a_mixture_make_outliers_that_the_gauss_newton_part_explains(classes, seed):
    objective = mixture(classes, seed)
    H, G = ls.Hessian(objective), ls.GaussNewton(objective)
    pairs = top_eigenpairs(H, 2 * classes, tol=1e-4, seed=seed)
    edge = outlier_edge(pairs)
    outliers = int((pairs.values > edge.value).sum())
    assert classes - 1 <= outliers <= classes + 1
    vectors = torch.as_tensor(pairs.vectors[:outliers])
    explained = np.array([float(v @ (G @ v)) for v in vectors]) / pairs.values[:outliers]
    np.testing.assert_allclose(explained, 1, atol=0.15)
    gauss_newton = top_eigenpairs(G, 2 * classes, tol=1e-4, seed=seed)
    assert (gauss_newton.values > edge.value).sum() == outliers
    rest = top_eigenpairs(H - G, 1, "LM", tol=1e-2, seed=seed)
    assert abs(rest.values[0]) < edge.value


@pytest.mark.slow
def test_the_share_of_mixtures_with_as_many_outliers_as_classes():
    hits = []
    for classes in (3, 5, 8):
        for seed in range(8):
            pairs = top_eigenpairs(ls.Hessian(mixture(classes, seed)), 2 * classes, tol=1e-3)
            outliers = int((pairs.values > outlier_edge(pairs).value).sum())
            hits.append(classes - 1 <= outliers <= classes + 1)
    assert np.mean(hits) >= 0.75


def test_the_edge_lies_in_the_widest_gap(matrix_with):
    pairs = top_eigenpairs(matrix_with([40.0, 30, 20, *np.linspace(0, 6, 200)]), 8)
    edge = outlier_edge(pairs)
    assert edge.value == pytest.approx((20 * 6) ** 0.5, rel=1e-3)
    assert edge.standard_error == pytest.approx(14 / 12**0.5, rel=1e-3)
    assert edge.message.startswith("3 outliers")


def test_wrong_pairs_are_refused(matrix_with):
    matrix = matrix_with(np.linspace(-1, 0.01, 80))
    with pytest.raises(LandscapeError, match="which='LA'"):
        outlier_edge(top_eigenpairs(matrix, 3, "LM"))
    with pytest.raises(LandscapeError, match="which='LA'"):
        outlier_edge(top_eigenpairs(matrix, 3, tol=1e-9, max_matvecs=10))
    with pytest.raises(LandscapeError, match="1 positive"):
        outlier_edge(top_eigenpairs(matrix, 3))
