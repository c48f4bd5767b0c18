"""Forks, threads and what the caller has set: results are the same, and nobody waits for ever."""

import os
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls


def objective(model=None):
    torch.manual_seed(0)
    X, y = torch.randn(40, 4, device="cpu", dtype=torch.float32), torch.randint(0, 3, (40,), device="cpu")
    model = model or nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))
    return ls.Objective(model, (X, y), "cross_entropy")


@contextmanager
def evaluating(objective, threads=1):
    """Threads that evaluate somewhere else all the time; yields how often they have done so."""
    ended, counts, theta = threading.Event(), [0] * threads, objective.theta * 3

    def work(place):
        while not ended.is_set():
            objective.loss(theta)
            counts[place] += 1

    workers = [threading.Thread(target=work, args=(place,)) for place in range(threads)]
    for worker in workers:
        worker.start()
    try:
        yield counts
    finally:
        ended.set()
        for worker in workers:
            worker.join()


def answers_in_a_child(ask, seconds=30):
    """Whether a forked child finishes, and rightly."""
    child = os.fork()
    if child == 0:
        os._exit(0 if ask() else 1)
    for _ in range(100 * seconds):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return False


def test_a_child_that_is_forked_during_an_evaluation_answers(settings):
    here = objective()
    expected, before, modes = here.loss(), settings(), [m.training for m in here.model.modules()]

    def ask():
        same = here.loss() == expected and bool(here.gradient().isfinite().all())
        return same and settings() == before and [m.training for m in here.model.modules()] == modes

    with evaluating(here):
        for _ in range(6):
            assert answers_in_a_child(ask)
    assert here.loss() == expected


def test_a_child_that_is_forked_inside_an_evaluation_answers():
    here = objective()
    expected = here.loss()
    with here.guard():
        assert answers_in_a_child(lambda: here.loss() == expected)
        assert here.loss() == expected


def test_the_users_network_answers_rightly_while_threads_evaluate():
    here = objective()
    model, X = here.model.eval(), here.batches[0].inputs
    with torch.no_grad():
        expected = model(X)
        with evaluating(here, threads=3) as counts:
            for _ in range(1000):
                assert torch.equal(model(X), expected)
            while min(counts) < 3:
                time.sleep(0.01)


@contextmanager
def default(what, value, usual):
    set_default = getattr(torch, f"set_default_{what}")
    set_default(value)
    try:
        yield
    finally:
        set_default(usual)


SURROUNDINGS = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "a device": lambda: default("device", "meta", None),
    "a device for a while": lambda: torch.device("meta"),
    "double": lambda: default("dtype", torch.float64, torch.float32),
    "no_grad": torch.no_grad,
}
CALLS = {
    "loss": lambda o: o.loss(),
    "made there": lambda o: objective(o.model).loss(),
    "gradient": lambda o: o.gradient(),
    "statistics of the batch": lambda o: o.with_norm("batch", batch_size=20).loss(),
    "recalibrated": lambda o: o.recalibrated().loss(),
    "product": lambda o: ls.Hessian(o) @ o.theta,
    "recompute": lambda o: ls.Hessian(o, program="recompute") @ o.theta,
    "gauss-newton": lambda o: ls.GaussNewton(o) @ o.theta,
    "empirical fisher": lambda o: ls.EmpiricalFisher(o) @ o.theta,
    "dense": lambda o: ls.Hessian(o).dense(),
    "check": lambda o: ls.Hessian(o).check() or 0.0,
    "eigenpairs": lambda o: ls.top_eigenpairs(ls.Hessian(o), k=2).values,
    "trace": lambda o: ls.trace(ls.Hessian(o)).value,
    "density": lambda o: ls.spectral_density(ls.Hessian(o), probes=2, steps=10).density,
    "plane": lambda o: ls.plane(o, ls.random_directions(o), points=3).loss,
    "curve": lambda o: ls.connect(o, o, o.theta * 1.1, points=3, steps=3).loss,
    "scores": lambda o: [row.value for row in ls.sharpness(o, ["adaptive-average", "adaptive-worst-linf"]).rows],
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_what_surrounds_a_call_changes_no_number(call):
    here = objective()
    expected = np.asarray(call(here))
    for name, surroundings in SURROUNDINGS.items():
        with surroundings():
            found = call(here)
        np.testing.assert_array_equal(np.asarray(found), expected, err_msg=name)


def test_the_network_has_its_own_device_as_the_default():
    class Steps(nn.Linear):
        def forward(self, x):
            return super().forward(x + torch.arange(4))

    here = objective(Steps(4, 3))
    expected = here.loss()
    with torch.device("meta"):
        assert here.loss() == expected
        assert ls.line(here, ls.random_directions(here, n=1), points=3).loss[1] == pytest.approx(expected, rel=1e-6)
        assert torch.get_default_device().type == "meta"
