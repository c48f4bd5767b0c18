"""Curvature along training: right numbers, identical training, budgets, and nothing that ends a run."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import landscape as ls
from landscape.studies.descents import chebyshev_data, chebyshev_network, half_squared_error
from landscape.training.tracked import critical_step, warm_eigenpairs

X = torch.randn(96, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(96) % 3


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Dropout(0.2), nn.BatchNorm1d(12), nn.Linear(12, 3))


def train(make, *, steps=12, accumulate=1, **options):
    """Train with a tracker, or without one where no options are given; return the weights and the track."""
    model = network()
    optimizer = make(model.parameters())
    tracker = ls.Tracker(model, "cross_entropy", (X, Y), optimizer=optimizer, **options) if options else None
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        for _ in range(accumulate):
            chosen = torch.randperm(96, generator=generator)[:16]
            (F.cross_entropy(model(X[chosen]), Y[chosen]) / accumulate).backward()
        optimizer.step()
        optimizer.zero_grad()
        if tracker:
            tracker.step()
    return model, tracker.close() if tracker else None


EVERYTHING = [
    "lambda_max", "lambda_min", "preconditioned", "trace", "batch_sharpness", "critical_sharpness", "loss",
    "weight_norm", "update_norm", "cosine", "fisher-rao", "noise-scale",
]  # fmt: skip

OPTIMISERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05),
    "heavy ball": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.001),
}


@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_training_is_the_same_to_the_last_bit(kind, accumulate):
    plain, _ = train(OPTIMISERS[kind], accumulate=accumulate)
    state = torch.get_rng_state()
    tracked, track = train(
        OPTIMISERS[kind], accumulate=accumulate, measure=EVERYTHING, every=3, budget=None, batch_size=16
    )
    assert torch.equal(state, torch.get_rng_state())
    for (name, a), b in zip(plain.state_dict().items(), tracked.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert track.step.tolist() == [3, 6, 9, 12]
    assert set(EVERYTHING) <= set(track.values)
    assert track.missed == {}


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_values_are_those_of_the_weights_and_the_optimiser(kind):
    model = network().double().eval()
    optimizer = OPTIMISERS[kind](model.parameters())
    measure = ["lambda_max", "preconditioned", "update_norm", "cosine"]
    data = (X.double(), Y)
    with ls.Tracker(
        model, "cross_entropy", data, optimizer=optimizer, every=1, budget=None, measure=measure
    ) as tracker:
        for _ in range(5):
            before = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
            optimizer.zero_grad()
            F.cross_entropy(model(data[0]), Y).backward()
            optimizer.step()
    objective = ls.Objective(model, data, "cross_entropy")
    H = ls.Hessian(objective).dense()
    values = tracker.track.values
    largest, vectors = torch.linalg.eigh(H)
    assert values["lambda_max"][-1] == pytest.approx(float(largest[-1]), rel=0.02)
    update = objective.theta - before
    assert values["update_norm"][-1] == pytest.approx(float(update.norm()))
    turned = values["residual/lambda_max"][-1] / float(largest[-1] - largest[-2])  # Davis and Kahan: sine of the angle
    assert values["cosine"][-1] == pytest.approx(float((vectors[:, -1] @ update).abs() / update.norm()), abs=turned)
    # what the optimiser divides by, from one more step with gradient g: Δ = −η m̂/P, so P follows from its state
    P = torch.ones(objective.size, dtype=torch.float64)
    if kind in ("adam", "adamw"):
        P = torch.cat([(s["exp_avg_sq"] / (1 - 0.999**5)).sqrt().reshape(-1) + 1e-8 for s in optimizer.state.values()])
    if kind == "rmsprop":
        P = torch.cat([s["square_avg"].sqrt().reshape(-1) + 1e-8 for s in optimizer.state.values()])
    scaled = torch.linalg.eigvalsh(P.rsqrt()[:, None] * H * P.rsqrt())
    assert values["preconditioned"][-1] == pytest.approx(float(scaled[-1]), rel=0.02)
    beta, lr = (0.9 if kind != "sgd" and kind != "rmsprop" else 0.0), optimizer.param_groups[0]["lr"]
    limits = {"heavy ball": 3.8, "nesterov": 3.8 / 2.8, "adam": 38.0, "adamw": 38.0}
    assert tracker.track.threshold[-1] == pytest.approx(limits.get(kind, 2 + 2 * beta) / lr)


def test_gradient_descent_ends_at_the_edge_of_stability():
    data, model = chebyshev_data(3), chebyshev_network(10, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    tracker = ls.Tracker(
        model, half_squared_error, data, optimizer=optimizer, every=50, budget=None, measure="lambda_max"
    )
    for _ in range(6000):
        optimizer.zero_grad()
        half_squared_error(model(data[0]), data[1]).backward()
        optimizer.step()
        tracker.step()
    track = tracker.close()
    ratio = track.values["lambda_max"] / track.threshold
    assert ratio[-30:].mean() == pytest.approx(1.0, abs=0.03)
    assert track.values["products/lambda_max"][1:].mean() <= 5


@pytest.mark.parametrize(
    ("rise", "factor"),
    [
        (lambda c: -c + c * c / 8, 8.0),
        (lambda c: -c + c * c / 0.03, 0.03),
        (lambda c: -c + c**3, 1.0),
        (lambda c: -1.0 if c < 3 else float("nan"), 3.0),  # diverges
    ],
)
@pytest.mark.parametrize("guess", [0.02, 1.0, 50.0])
def test_the_critical_step_is_where_the_loss_first_rises(rise, factor, guess):
    found = critical_step(rise, guess=guess)
    assert found.factor == pytest.approx(factor, rel=1 / 16)
    assert found.width <= 1 / 16


def test_a_step_that_never_or_always_raises_the_loss_has_no_critical_one():
    assert critical_step(lambda c: -c).factor == np.inf
    assert np.isnan(critical_step(lambda c: c).factor)


def test_warm_eigenpairs_follow_a_crossing():
    """Two eigenvalues change places, as they may between two steps: no product is wasted, and the larger one is found."""
    start, places = torch.ones(1, 200, dtype=torch.float64), torch.linspace(0, 1, 200, dtype=torch.float64)
    for first, second in ((5, 4), (4.9, 4.4), (4.6, 4.5), (4.4, 4.6), (4.2, 5.0)):
        values = places.clone()
        values[:2] = torch.tensor([first, second])
        found, residuals, start, _ = warm_eigenpairs(torch.diag(values), start, 1)
        assert found[0] == pytest.approx(max(first, second), rel=0.01)
        assert abs(found[0] - max(first, second)) <= residuals[0]


def tracked(optimizer=None, model=None, **options):
    """Return a tracker of a network that need not train, and its optimiser."""
    model = model or network()
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.1)
    return ls.Tracker(model, "cross_entropy", (X, Y), optimizer=optimizer, **options), optimizer


@pytest.fixture
def clock(monkeypatch):
    """The tracker's clock, which stands still but for what a test adds."""
    now = [0.0]
    monkeypatch.setattr("landscape.training.tracker.time.perf_counter", lambda: now[0])
    return now


def test_the_budget_bounds_the_overhead(clock):
    """On a clock by which a training step takes 1 and a measurement 7: every 70th step is within a budget of 0.1."""

    def slow(objective):
        clock[0] += 7.0
        return 0.0

    tracker, optimizer = tracked(measure=slow, budget=0.1)
    for _ in range(350):
        clock[0] += 1.0
        optimizer.step()
        tracker.step()
    track = tracker.close()
    assert track.step.tolist() == [1, 140, 210, 280, 350]
    assert track.overhead == pytest.approx(0.1)


def test_the_first_measurement_waits_until_the_budget_has_paid_for_it(clock, monkeypatch):
    """A gradient takes 1, two are timed at the beginning, and the first measurement is expected to take 30: 32 in all."""
    gradient = ls.Objective.gradient

    def slow(objective):
        clock[0] += 1.0
        return gradient(objective)

    monkeypatch.setattr(ls.Objective, "gradient", slow)
    for steps, first in ((350, 320), (200, None)):
        tracker, _ = tracked(measure="loss", budget=0.1)
        for _ in range(steps):
            clock[0] += 1.0
            tracker.step()
        if first:
            assert tracker.close().step[0] == first
        else:
            with pytest.warns(UserWarning, match=r"10\.0% of 200 s of training paid for no measurement"):
                assert tracker.close().step.tolist() == []


def test_time_goes_on_where_a_killed_run_ended_and_stops_with_the_run(clock, tmp_path):
    def slow(objective):
        clock[0] += 2.0
        return 0.0

    for run in range(2):
        tracker, _ = tracked(measure=slow, every=5, budget=None, save=(tmp_path / "a.h5", "a/t"))
        for step in range(5):
            clock[0] += 1.0
            tracker.step(5 * run + step + 1)
        if run == 0:
            tracker._run.__exit__(None, None, None)
    track = tracker.close()
    clock[0] += 100.0
    for one in (track, tracker.track):
        assert (one.training_seconds, one.measuring_seconds) == (10.0, 4.0)


def test_points_survive_a_kill_and_the_track_is_stored(tmp_path):
    options = {"every": 1, "budget": None, "measure": ["loss", "trace"], "save": (tmp_path / "run.h5", "mine/track")}
    first, optimizer = tracked(**options)
    for _ in range(3):
        optimizer.step()
        first.step()
    first._run.__exit__(None, None, None)  # as a kill leaves it: neither closed nor stored
    again, _ = tracked(**options)
    assert again.track.step.tolist() == [1, 2, 3]
    again.step(4)
    track = again.close()
    stored = ls.open_study(tmp_path / "run.h5")["mine/track"]
    assert stored.step.tolist() == track.step.tolist() == [1, 2, 3, 4]
    assert stored.values["error/trace"].tolist() == track.values["error/trace"].tolist()
    with pytest.warns(UserWarning, match="finished track"):
        tracked(**options)


def test_a_wrapped_model_and_scheduled_rates():
    model = network()
    tracker, optimizer = tracked(model=nn.DataParallel(model), every=1, budget=None, measure="loss")
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    with tracker:
        for _ in range(3):
            optimizer.zero_grad()
            F.cross_entropy(model(X), Y).backward()
            optimizer.step()
            schedule.step()
    assert tracker.track.threshold.tolist() == pytest.approx([20, 40, 80])


def test_the_figure_shows_curvatures_with_the_threshold():
    _, track = train(
        OPTIMISERS["sgd"], measure=["lambda_max", "batch_sharpness", "loss"], every=3, budget=None, batch_size=16
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = track.plot()
    assert [ax.get_ylabel() for ax in figure.axes] == ["curvature", "loss"]
    assert "threshold" in [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_a_network_with_batch_norm_is_measured_as_it_trains():
    """The bias before the norm layer has no gradient in training, so that Adam's preconditioner is ε there."""
    X, y = torch.randn(64, 6, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 3
    found = {}
    for norm in ("frozen", "batch"):
        model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
        nn.utils.vector_to_parameters(torch.linspace(-1, 1, 99), model.parameters())
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        options = {"every": 30, "budget": None, "measure": ["preconditioned"], "batch_size": 64, "norm": norm}
        with ls.Tracker(model, "cross_entropy", (X, y), optimizer=optimizer, **options) as tracker:
            for _ in range(30):
                optimizer.zero_grad()
                F.cross_entropy(model(X), y).backward()
                optimizer.step()
        (found[norm],) = tracker.track.values["preconditioned"]
    assert found["frozen"] > 100 * found["batch"]


def test_names_of_measures_belong_to_one_each_and_batches_fit_into_the_data():
    def lr(objective):
        return 99.0

    model, X = nn.Linear(2, 1), torch.randn(8, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for measure in ([lr], ["loss", "loss"]):
        with pytest.warns(UserWarning, match="two measures are called"):
            ls.Tracker(model, "mse_loss", (X, X[:, :1]), optimizer=optimizer, measure=measure).close()
    options = {"every": 1, "budget": None, "measure": ["batch_sharpness"], "batch_size": 9}
    tracker = ls.Tracker(model, "mse_loss", (X, X[:, :1]), optimizer=optimizer, **options)
    with pytest.warns(UserWarning, match="more than the 8 examples"):
        tracker.step()
