"""Numbers of the wrong kind are refused by every function in one line that names the argument."""

import numpy as np
import pytest
import torch

import landscape as ls
from landscape.arguments import seeded_generator

X, Y = torch.randn(30, 4, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 3

CHECKPOINT = ls.Checkpoint(ls.models.mlp((4, 6, 3)), loss="cross_entropy", train=(X, Y))
NORMED = ls.Objective(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3)), (X, Y), "cross_entropy")


@pytest.fixture(scope="module")
def objective():
    return ls.Objective(ls.models.mlp((4, 6, 3)), (X, Y), "cross_entropy")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda o: ls.random_directions(o, 1.5), "n=1.5 is float, expected a whole number"),
        (lambda o: ls.random_directions(o, 1, seed=None), "seed=None is NoneType, expected a whole number"),
        (lambda o: ls.random_directions(o, 1, seed=-1), "seed=-1, expected a whole number from 0 on"),
        (lambda o: ls.line(o, o.theta, points=5.5), "points=5.5, expected how many"),
        (lambda o: ls.line(o, o.theta, points="five"), "points='five', expected how many"),
        (lambda o: ls.line(o, o.theta, together=2.0), "together=2.0 is float"),
        (lambda o: ls.top_eigenpairs(ls.Hessian(o), 1, tol="small"), "tol='small' is str, expected a number"),
        (lambda o: ls.top_eigenpairs(ls.Hessian(o), 1, seed=None), "seed=None is NoneType"),
        (lambda o: ls.trace(ls.Hessian(o), matvecs=2.5), "matvecs=2.5 is float"),
        (lambda o: ls.spectral_density(ls.Hessian(o), probes=2.5), "probes=2.5 is float"),
        (lambda o: ls.slices.smoothness(o, eta="large"), "eta is 'large', expected a list of positive"),
        (lambda o: ls.slices.adaptive_plane(o, ls.random_directions(o, 2), tolerance="x"), "tolerance='x' is str"),
        (lambda o: ls.sharpness(o, "trace", seed=None), "seed=None is NoneType"),
        (lambda o: ls.sharpness(o, "keskar", radii="wide"), "radii are 'wide'"),
        (lambda o: ls.sharpness(o, "trace", options={"trace": {"radius": 1.0}}), "trace has no option radius; it has"),
        (lambda o: ls.scores.adaptive_average(o, pairs=2.5), "pairs=2.5 is float"),
        (lambda o: ls.compare({"a": [o], "b": [o]}, level="high"), "level='high' is str"),
        (lambda o: ls.transforms.permutation(o.model, X, seed=None), "seed=None is NoneType"),
        (lambda o: o.rebatch(2.5), "size=2.5 is float"),
        (lambda o: o.subset(torch.arange(30) < 5), "index is True, expected whole numbers; of a mask"),
        (lambda o: o.subset([1.5]), "index is 1.5"),
        (lambda o: o.subset([-1]), "example -1 is out of range; the data has 30 examples"),
        (lambda o: o.subset(3), "the examples are 3, expected their indices: [3]"),
        (lambda o: CHECKPOINT.objective([]), "not []"),
        (lambda o: CHECKPOINT.objective(recalibrated="yes"), "recalibrated='yes' is str, expected True or False"),
        (lambda o: CHECKPOINT.objective(norm="Frozen"), "norm is 'Frozen', expected 'frozen', 'batch'"),
        (lambda o: NORMED.with_norm("batch", batch_size=0), "batch_size is 0, expected at least 1"),
        (lambda o: ls.Objective(o.model, (X, Y), "cross_entropy", parameters=3), "parameters are 3, expected patterns"),
        (
            lambda o: ls.Objective(o.model, (X, Y), "cross_entropy", metrics="acc"),
            "metrics are 'acc', expected functions",
        ),
        (lambda o: ls.Hessian(ls.Hessian(o)), "Hessian got a Hessian, expected an Objective: pass its .objective"),
        (lambda o: ls.barriers(o, o), "solutions are Objective, expected a list of at least 2"),
        (lambda o: ls.sharpness(o, 3), "scores are 3, expected names such as 'lambda-max'"),
        (lambda o: ls.sharpness(o, []), "scores are [], expected names such as 'lambda-max'"),
        (lambda o: ls.sharpness(o, [3]), "unknown score 3"),
        (lambda o: ls.sharpness(o, "keskar", radii=0.1), "radii are 0.1; expected one or more positive numbers"),
        (lambda o: ls.sharpness(o, "trace", options=3), "options are 3, expected a mapping"),
        (lambda o: ls.sharpness(o, "trace", options={"trace": 3}), "the options of trace are 3, expected a mapping"),
        (lambda o: ls.compare({3: [o], 4: [o]}), "a recipe is called 3, expected text"),
        (lambda o: ls.placebo(3), "placebo got int, expected a Comparison"),
        (lambda o: ls.open_study(3), "the file is 3, expected its path, such as 'study.h5'"),
        (lambda o: ls.open_study(""), "the file is '', expected its path"),
        (lambda o: ls.export.csv(o, "a.csv"), "csv got Objective, expected a result"),
        (lambda o: ls.export.json(3, "a.json"), "json got int, expected a result"),
        (lambda o: ls.export.latex(3, "a.tex"), "latex got int, expected a result"),
        (lambda o: ls.Objective(o.model, (X, Y), "cross_entropy", batch_size=1.5), "batch_size=1.5 is float"),
        (lambda o: ls.Objective(o.model, (X, Y), "cross_entropy", dtype="float64"), "dtype is 'float64', expected"),
        (lambda o: ls.Objective(o.model, (X, Y), "cross_entropy", dtype=torch.int64), "expected a floating-point one"),
        (lambda o: ls.Objective(o.model, (X, Y), "cross_entropy", device="gpu"), "no device 'gpu'; expected 'cpu'"),
    ],
)
def test_refused_in_one_line(objective, call, message):
    with pytest.raises(ls.LandscapeError) as caught:
        call(objective)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_numbers_of_numpy_are_numbers(objective):
    first = ls.random_directions(objective, np.int64(1), seed=np.int64(3)).vectors
    np.testing.assert_array_equal(first, ls.random_directions(objective, 1, seed=3).vectors)


def test_an_unknown_argument_is_named_with_its_function(objective):
    with pytest.raises(TypeError, match=r"line\(\) got an unexpected keyword argument 'n'"):
        ls.line(objective, objective.theta, n=5)


def test_a_generator_leaves_the_global_state_alone():
    before = torch.get_rng_state()
    assert torch.equal(torch.rand(2, generator=seeded_generator(1)), torch.rand(2, generator=seeded_generator(1)))
    assert torch.equal(before, torch.get_rng_state())


def test_an_unknown_argument_is_told_in_pythons_words_alone(objective):
    with pytest.raises(TypeError, match=r"sharpness\(\) got an unexpected keyword argument 'colour'") as told:
        ls.sharpness(objective, colour="red")
    assert told.value.__context__ is None


class LateLoss:
    """A loss that breaks after the objective was made, in code that PyTorch runs for it."""

    broken = False

    def __call__(self, output, target):
        if self.broken:
            return output @ torch.ones(7)
        return torch.nn.functional.cross_entropy(output, target)


@pytest.mark.parametrize(
    "call",
    [
        lambda o: ls.plane(o, ls.random_directions(o), points=3),
        lambda o: ls.sharpness(o, "trace"),
        lambda o: ls.top_eigenpairs(ls.Hessian(o)),
        lambda o: ls.critical_point(o),
    ],
)
def test_an_error_in_the_users_own_code_names_its_line(call):
    loss = LateLoss()
    objective = ls.Objective(ls.models.mlp((4, 6, 3)), (X, Y), loss)
    loss.broken = True
    with pytest.raises(RuntimeError) as told:
        call(objective)
    note = told.value.__notes__[-1]
    assert note.startswith("in test_arguments.py, line ")
    assert note.endswith("in __call__: return output @ torch.ones(7)")


def test_errors_of_the_package_and_of_libraries_get_no_line(objective):
    with pytest.raises(ls.LandscapeError) as told:
        ls.sharpness(objective, "no-such-score")
    assert not hasattr(told.value, "__notes__")
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as told:
        ls.Objective(torch.nn.Linear(5, 3), (X, Y), "cross_entropy")
    assert not any(note.startswith("in ") for note in told.value.__notes__)
