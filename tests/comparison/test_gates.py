"""Gates: each fails when its own condition is broken, and no other does."""

import math
from dataclasses import replace

import pytest
import torch

import landscape as ls
from landscape.comparison import check, facts
from landscape.comparison.gates import Facts, gates_named
from landscape.function.gradients import example_gradient_norms, gradient_noise_ratio
from landscape.results.comparison import WAIVED

GOOD = Facts("net", "data", 0.01, 1.0, 0.5, 1.0)


def failed(arm_b, arm_a=None, **options):
    return [g.gate for g in check("a", "b", arm_a or [GOOD] * 8, arm_b, **options) if not g.passed]


@pytest.mark.parametrize(
    ("changes", "gate"),
    [
        ({"network": "other"}, "network"),
        ({"inputs": "other"}, "inputs"),
        ({"loss": 0.0115}, "train loss"),
        ({"accuracy": 0.98}, "train accuracy"),
        ({"noise_ratio": 1.5}, "gradient"),
        ({"modal_share": 9.0}, "collapse"),
    ],
)
def test_each_gate_fails_alone(changes, gate):
    assert failed([GOOD] * 8) == []
    assert failed([replace(GOOD, **changes)] * 8) == [gate]
    assert failed([replace(GOOD, **changes)] * 8, waive=[gate]) == []


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"network": "other"}, "b-3 not those of the others"),
        ({"inputs": "other"}, "b-3 not those of the others"),
        ({"loss": math.inf}, "b-3 has inf"),
        ({"loss": math.nan}, "b-3 has nan"),
        ({"modal_share": 9.0}, "as b-3 does"),
    ],
)
def test_the_checkpoint_that_fails_a_gate_is_named(changes, note):
    arm = [GOOD] * 8
    arm[3] = replace(GOOD, **changes)
    (gate,) = [gate for gate in check("a", "b", [GOOD] * 8, arm) if not gate.passed]
    assert gate.note.endswith(note)


def test_only_a_gate_that_failed_is_marked_as_waived():
    slope = replace(GOOD, noise_ratio=1.5)
    notes = {gate.gate: gate.note for gate in check("a", "b", [GOOD] * 8, [slope] * 8, waive=["gradient", "collapse"])}
    assert notes["gradient"] == WAIVED
    assert WAIVED not in (notes["collapse"], notes["train loss"])


@pytest.mark.parametrize(
    ("changes", "gate"),
    [({"noise_ratio": float("nan")}, "gradient"), ({"accuracy": float("nan")}, "train accuracy"),
     ({"loss": float("nan")}, "train loss"), ({"modal_share": float("nan")}, "collapse")],
)  # fmt: skip
def test_what_is_not_a_number_passes_no_gate(changes, gate):
    broken = replace(GOOD, **changes)
    assert failed([GOOD] * 7 + [broken]) == [gate]
    assert failed([broken] * 8, [broken] * 8) == ([gate] if gate != "train accuracy" else [])  # a task without accuracy


@pytest.mark.parametrize("ratio", [3.0, float("nan")])
def test_a_gradient_is_reported_where_no_score_needs_a_critical_point(ratio):
    slope = replace(GOOD, noise_ratio=ratio)
    (gate,) = (g for g in check("a", "b", [GOOD] * 8, [slope] * 8, stationary=False) if g.gate == "gradient")
    assert gate.passed
    assert gate.note.startswith("reported: the scores that decide need no critical point")


def test_facts_know_the_weights_a_run_started_from_and_a_head_that_was_not_found():
    whole, init = objective(), {"w": torch.zeros(2), "b": torch.ones(1)}
    known, turned, other = (facts(whole, one).init for one in (init, dict(reversed(init.items())), {"w": init["w"]}))
    assert known == turned != other
    assert (facts(whole).init, facts(whole).gauge) == ("", "")
    rolled = torch.nn.Sequential(ls.models.mlp((4, 6, 3)).double(), Shifted())
    found = facts(ls.Objective(rolled, (whole.batches[0].inputs, whole.targets), "cross_entropy"))
    assert "the shift of all logits is left in" in found.gauge


class Shifted(torch.nn.Module):
    """Logits that do not come straight from one layer."""

    def forward(self, x):
        return x + x.roll(1, 1)


def test_seeds_are_counted_and_gates_go_by_their_names():
    assert failed([GOOD] * 5) == ["seeds"]
    assert gates_named("train loss") == gates_named(["train loss"]) == ("train loss",)
    with pytest.raises(ls.LandscapeError, match="the gates are"):
        check("a", "b", [GOOD], [GOOD], waive=["luck"])


def objective(batch_size=None):
    g = torch.Generator().manual_seed(0)
    X, y = torch.randn(30, 4, generator=g, dtype=torch.float64), torch.randint(0, 3, (30,), generator=g)
    net = ls.models.mlp((4, 6, 3), activation="gelu", seed=1).double()
    return ls.Objective(net, (X, y), "cross_entropy", batch_size=batch_size)


def test_example_gradients_against_one_example_at_a_time():
    whole = objective(batch_size=7)
    singles = [float(whole.subset([i]).gradient().norm()) for i in range(whole.n)]
    assert example_gradient_norms(whole).tolist() == pytest.approx(singles, rel=1e-10)


def test_noise_ratio_is_the_gradient_over_its_standard_error():
    whole = objective()
    grads = torch.stack([whole.subset([i]).gradient() for i in range(whole.n)])
    g = grads.mean(0)
    trace = (grads - g).square().sum(1).mean()
    assert gradient_noise_ratio(whole) == pytest.approx(float(g.norm() / (trace / whole.n).sqrt()), rel=1e-10)


def test_facts_of_a_collapsed_predictor():
    whole = objective()
    theta = torch.zeros(whole.size, dtype=torch.float64)
    theta[-1] = 10.0  # the bias of the last class wins everywhere
    assert facts(whole.at(theta)).modal_share > 1.5
    assert facts(whole).inputs == facts(whole.rebatch(4)).inputs


def test_a_network_with_batch_norm_is_judged_on_the_function_of_its_batches_and_both_are_reported():
    X, y = torch.randn(24, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(24) % 10
    checkpoint = ls.Checkpoint(ls.models.small_cnn(channels=(2, 3)), loss="cross_entropy", train=(X, y), batch_size=6)
    found = facts(checkpoint.objective())
    assert found.noise_ratio == gradient_noise_ratio(checkpoint.objective(norm="batch"))
    assert found.frozen_ratio == pytest.approx(gradient_noise_ratio(checkpoint.objective(norm="frozen")), rel=1e-5)
    trained = replace(GOOD, frozen_ratio=2.94)
    (gate,) = (gate for gate in check("a", "b", [GOOD] * 8, [GOOD] * 8) if gate.gate == "gradient")
    assert "frozen" not in gate.note
    (gate,) = (gate for gate in check("a", "b", [trained] * 8, [trained] * 8) if gate.gate == "gradient")
    assert gate.passed
    assert gate.note.endswith("(2.9 with frozen norm statistics)")
