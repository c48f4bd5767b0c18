"""The panel, its storing, and the register."""

import dataclasses
import inspect
import json
import math

import pytest
import torch

import landscape as ls
from landscape.errors import LandscapeError, NotDefinedError
from landscape.results import Scores
from landscape.scores.register import REGISTRY, Definition, score
from landscape.scores.sharpness import panel_identity

PRIMARY = {"adaptive-worst-symmetric", "adaptive-average", "inverse-sigma-mag"}


def test_panel_of_a_network(classifier):
    """The primary scores at four radii each, and the controls, at 400 gradients; the network is as it was."""
    objective = classifier(n=200)
    model = objective.model.train()
    before = {name: (tensor.clone(), tensor._version) for name, tensor in model.state_dict(keep_vars=True).items()}
    state = torch.random.get_rng_state()
    panel = ls.sharpness(objective)
    ls.sharpness(objective, ["local-volume", "kl-radius", "lpf"])
    for name, tensor in model.state_dict(keep_vars=True).items():
        assert torch.equal(before[name][0], tensor)
        assert before[name][1] == tensor._version
        assert tensor.grad is None
        assert tensor.requires_grad
    assert model.training
    assert torch.equal(state, torch.random.get_rng_state())
    assert set(panel.names) >= {
        *PRIMARY,
        "lambda-max",
        "trace",
        "lambda-min",
        "gradient-norm",
        "keskar",
        "margin",
        "loss",
    }
    assert {d.slug for d in REGISTRY.values() if d.primary} == PRIMARY
    assert len(panel.all("adaptive-worst-symmetric")) == len(panel.all("adaptive-average")) == 4
    assert all(math.isfinite(row.value) for row in panel.rows)
    assert set(panel.timings) == set(panel.names)
    assert panel.gradients <= 400


@pytest.mark.slow
def test_panel_of_a_resnet20_on_1024_images_costs_at_most_four_hundred_gradients():
    generator = torch.Generator().manual_seed(0)
    X, y = torch.randn(1024, 3, 8, 8, generator=generator), torch.randint(10, (1024,), generator=generator)
    blank = ls.Objective(ls.models.resnet(20), (X, y), "cross_entropy").recalibrated()
    objective = blank.on((X, blank.outputs().argmax(1)))  # labels the network gets right
    panel = ls.sharpness(objective)
    assert {row.status for row in panel.rows if row.name in PRIMARY} == {"ok"}
    assert panel["lambda-max"].status == "ok"
    assert panel.gradients <= 400


def test_same_numbers_for_every_batch_size(classifier):
    """All but two whose search a last digit turns: conjugate gradients cut short, and steps of a 0–1 error."""
    quick = {"llc": {"chains": 2, "draws": 5, "burn_in": 2}}
    small, large = (ls.sharpness(classifier(batch_size=b), "all", options=quick).rows for b in (11, 60))
    for a, b in zip(small, large, strict=True):
        if a.name not in ("igs", "inverse-alpha-mag"):
            assert a.value == pytest.approx(b.value, rel=1e-6, abs=1e-9, nan_ok=True), a.name


@pytest.mark.parametrize(
    "slug", [d.slug for d in REGISTRY.values() if {"classes", "three classes", "errors"} & {*d.needs}]
)
def test_a_score_of_classes_refuses_a_regression(regression, slug):
    with pytest.raises(
        NotDefinedError, match=r"^[\w-]+ is not defined here: (needs logits|0–1 error needs a classifier)"
    ):
        REGISTRY[slug].compute(regression)


def test_same_seed_same_panel_other_seed_other_draws(classifier):
    objective = classifier()
    first, again, other = (ls.sharpness(objective, list(PRIMARY), seed=s) for s in (0, 0, 1))
    assert first.to_dict()["rows"][0]["value"] == again.to_dict()["rows"][0]["value"]
    assert first["adaptive-average"].value != other["adaptive-average"].value
    symmetric = [panel["adaptive-worst-symmetric"].value for panel in (first, other)]
    assert symmetric[0] == pytest.approx(symmetric[1], rel=0.2)  # other places to start climbing from
    assert other["adaptive-average"].seed == 1


def test_undefined_scores_are_marked_in_a_panel_and_raise_by_name(regression):
    panel = ls.sharpness(regression)
    for name in PRIMARY | {"margin", "accuracy"}:
        assert panel[name].status == "not defined"
        assert math.isnan(panel[name].value)
        assert panel[name].note
    assert panel["lambda-max"].status == "ok"
    with pytest.raises(NotDefinedError, match="inverse-sigma-mag is not defined here"):
        ls.sharpness(regression, "inverse-sigma-mag")


ASKED_FOR = {
    # what is asked for: the names and radii of the rows
    "family": ("fit", {}, [("loss", None), ("accuracy", None), ("weight-norm", None), ("igs", None)]),
    "slug": ("lambda-max", {}, [("lambda-max", None)]),
    "list": (["loss", "margin"], {}, [("loss", None), ("margin", None)]),
    "radii": ("adaptive-average", {"radii": [0.05, 0.3]}, [("adaptive-average", 0.05), ("adaptive-average", 0.3)]),
    "radii by slug": (
        ["lpf", "keskar"], {"radii": {"keskar": [2e-3, 4e-3]}}, [("lpf", 0.01), ("keskar", 2e-3), ("keskar", 4e-3)],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("asked", "options", "rows"), ASKED_FOR.values(), ids=ASKED_FOR)
def test_what_is_asked_for(classifier, asked, options, rows):
    panel = ls.sharpness(classifier(fit=5), asked, **options)
    assert [(row.name, row.radius) for row in panel.rows] == rows


def test_options_reach_the_score(classifier):
    panel = ls.sharpness(classifier(), "trace", options={"trace": {"matvecs": 12}})
    assert panel.gradients == pytest.approx(12)  # half of the products; the other half is the norm's
    assert panel.settings == {"trace": {"matvecs": 12}}


def test_a_score_that_fails_does_not_take_the_panel_with_it(quadratic, monkeypatch):
    """Keskar's sharpness of a loss below −1 is an error by name and a marked row in a panel, as is an error of any kind."""

    def broken(network, **arguments):
        raise RuntimeError("nobody foresaw this\nat all")

    monkeypatch.setitem(REGISTRY, "trace", dataclasses.replace(REGISTRY["trace"], compute=broken))
    objective = quadratic(-torch.eye(2), at=[3.0, 1.0], minimum=[0.0, 0.0])
    panel = ls.sharpness(objective)
    assert (panel["keskar"].status, panel["trace"].status) == ("failed", "failed")
    assert "divides by 1" in panel["keskar"].note
    assert panel["trace"].note == "RuntimeError: nobody foresaw this"
    assert panel["lambda-max"].value == pytest.approx(-1.0)
    with pytest.raises(LandscapeError, match="divides by 1"):
        ls.sharpness(objective, "keskar")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scores": "no-such"}, "unknown score 'no-such'"),
        ({"scores": "lambdamax"}, "unknown score 'lambdamax'; did you mean lambda-max"),
        ({"scores": "loss", "radii": [0.0]}, "expected one or more positive numbers"),
        ({"scores": "loss", "options": {"trace": {}}}, "not measured"),
        ({"scores": "loss", "radii": {"nonsense": [1.0]}}, "unknown score 'nonsense'"),
    ],
)
def test_wrong_requests(classifier, arguments, message):
    with pytest.raises(LandscapeError, match=message):
        ls.sharpness(classifier(fit=1), **arguments)


def test_anything_but_an_objective_is_refused_in_one_line():
    data = (torch.ones(2, 4), torch.tensor([0, 1]))
    model = ls.models.mlp((4, 3, 2))
    made = ls.Checkpoint(model, loss="cross_entropy", train=data)
    for call in (ls.sharpness, ls.audit, ls.scores.keskar, ls.scores.loss):
        with pytest.raises(
            ls.LandscapeError, match=r"got a \w+, expected an Objective: pass ls.Objective\(model"
        ) as caught:
            call(model)
        assert "\n" not in str(caught.value)
        with pytest.raises(ls.LandscapeError, match=r'pass checkpoint.objective\("train"\)'):
            call(made)


def test_result_prints_and_exports(classifier):
    panel_objective = classifier()
    panel = ls.sharpness(panel_objective, ["adaptive-average", "loss"])
    assert isinstance(panel, Scores)
    assert "adaptive-average (0.4)" in repr(panel)
    assert panel.table("markdown").startswith("| score")
    exported = panel.to_dict()
    assert json.loads(json.dumps(exported))["rows"][0]["name"] == "adaptive-average"
    assert {"name", "value", "standard_error", "radius", "seconds", "gradients"} <= set(exported["rows"][0])
    assert panel["adaptive-average"].radius == 0.4
    assert [row.reference for row in panel.all("adaptive-average")] == [False, False, True, False]
    assert ls.sharpness(panel_objective, "adaptive-average", radii=[0.05, 0.3])["adaptive-average"].radius == 0.05
    assert panel.at("adaptive-average", 0.8).radius == 0.8
    with pytest.raises(KeyError, match="its radii are"):
        panel.at("adaptive-average", 7.0)
    with pytest.raises(KeyError, match="this panel holds"):
        panel["nonsense"]


def test_an_audited_panel_shows_declared_and_measured_invariances(classifier):
    objective = classifier()
    plain = ls.sharpness(objective, ["adaptive-average", "weight-norm"])
    assert "declared invariant to" in plain.table()
    assert "measured on this network" not in plain.table()
    audited = ls.sharpness(objective, ["adaptive-average", "weight-norm"], radii=[0.3], audit=True)
    assert audited["adaptive-average"].audited == "T1 =, T2 =, T4 =, T5 =, T7 ="
    moved = ls.audit(objective, ["weight-norm"])
    ratio = next(row.ratio for row in moved.rows if row.transformation == "T1")
    assert audited["weight-norm"].audited.startswith(f"T1 ×{ratio:.3g}, T2 ×")
    assert "T4 =" in audited["weight-norm"].audited
    assert audited["adaptive-average"].value == pytest.approx(
        ls.sharpness(objective, "adaptive-average", radii=[0.3])["adaptive-average"].value
    )
    table = audited.table("markdown")
    assert "| measured on this network" in table
    assert audited["weight-norm"].audited in table


def test_registry_describes_every_score():
    text = ls.scores.describe("markdown")
    for slug, definition in REGISTRY.items():
        assert slug in text
        assert definition.compute is not None
        assert definition.formula
        assert definition.title


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        (Definition("trace", "t", "curvature", "f", "s"), "exists already"),
        (Definition("new", "t", "nonsense", "f", "s"), "unknown family"),
        (Definition("new", "t", "curvature", "f", "s", invariant="T9"), "unknown transformations"),
    ],
)
def test_wrong_definitions(definition, message):
    with pytest.raises(LandscapeError, match=message):
        score(definition)(lambda objective: 0.0)


def test_a_value_that_is_not_finite_is_marked(classifier):
    definition = Definition("made-up", "t", "fit", "f", "s")
    (row,) = definition.rows([ls.scores.Measurement(math.inf)], 0)
    assert row.status == "invalid"
    assert "inf" in row.note


ASKED = ["trace", "margin", "weight-norm", "gradient-norm"]


@pytest.fixture
def objective():
    torch.manual_seed(0)
    X, y = torch.randn(20, 3), torch.arange(20) % 3
    return ls.Objective(ls.models.mlp((3, 5, 3)), (X, y), "cross_entropy")


@pytest.fixture
def counted(monkeypatch):
    """How often each score was measured; a slug put into `stop` ends the panel as Ctrl-C does."""
    calls, stop = [], set()

    def watching(definition):
        def compute(objective, **options):
            if definition.slug in stop:
                raise KeyboardInterrupt
            calls.append(definition.slug)
            return definition.compute(objective, **options)

        compute.__signature__ = inspect.signature(definition.compute)
        return dataclasses.replace(definition, compute=compute)

    for slug in ASKED:
        monkeypatch.setitem(REGISTRY, slug, watching(REGISTRY[slug]))
    return calls, stop


def interrupted(objective, counted, save, **options):
    _, stop = counted
    stop.add("weight-norm")
    with pytest.raises(KeyboardInterrupt) as ended:
        ls.sharpness(objective, ASKED, save=save, **options)
    stop.clear()
    return ended.value.__notes__


def test_an_interrupted_panel_goes_on_where_it_was(objective, counted, tmp_path):
    save = (tmp_path / "study.h5", "net/scores")
    assert interrupted(objective, counted, save) == [
        "what is finished of 'net/scores' is kept beside study.h5; the same call goes on from there"
    ]
    with pytest.raises(LandscapeError, match="belongs to another computation"):
        ls.sharpness(objective.at(2 * objective.theta), ASKED, save=save)
    with ls.Run(save, panel_identity(objective, 0, None, None, None, False)) as run:
        _, seconds = run.done["trace"]
    panel = ls.sharpness(objective, ASKED, save=save)
    assert counted[0] == ASKED
    assert panel.timings["trace"] == seconds > 0
    assert panel.rows == ls.sharpness(objective, ASKED).rows == ls.open_study(save[0])["net/scores"].rows
    assert list(tmp_path.iterdir()) == [save[0]]


def test_a_finished_panel_is_found_again_and_replaced_only_when_asked(objective, counted, tmp_path):
    save = (tmp_path / "study.h5", "net/scores")
    first = ls.sharpness(objective, ASKED, save=save)
    again = ls.sharpness(objective, ASKED, save=save)
    assert (counted[0], again.rows) == (ASKED, first.rows)
    for other in ({"seed": 1}, {"options": {"trace": {"matvecs": 20}}}, {"audit": True}):
        with pytest.raises(LandscapeError, match=r"already holds a result of another computation .*overwrite=True"):
            ls.sharpness(objective, ASKED, save=save, **other)
    with pytest.raises(LandscapeError, match=r"weights_sha256: .* there, .* here"):
        ls.sharpness(objective.at(2 * objective.theta), ASKED, save=save)
    with pytest.raises(LandscapeError, match="already holds a panel of other scores"):
        ls.sharpness(objective, ["trace"], save=save)
    assert ls.sharpness(objective, ["trace"], seed=1, save=save, overwrite=True).names == ("trace",)


def test_nothing_is_left_of_a_panel_without_a_finished_score(objective, counted, tmp_path):
    counted[1].add("trace")
    with pytest.raises(KeyboardInterrupt):
        ls.sharpness(objective, ASKED, save=(tmp_path / "study.h5", "net/scores"))
    assert list(tmp_path.iterdir()) == []


def test_without_a_study_the_remedy_is_named(objective, counted):
    assert interrupted(objective, counted, None) == [
        "nothing is kept; pass save=('study.h5', name) to a computation that is to be resumed"
    ]
    with pytest.raises(LandscapeError, match="does not say what to call the result"):
        ls.sharpness(objective, ASKED, save="study.h5")
    assert counted[0] == ASKED[:2]


def test_what_a_checkpoint_says_of_its_training_decides(objective):
    one, other = (
        ls.Checkpoint(objective.model, loss="cross_entropy", train=(torch.randn(4, 3), torch.arange(4) % 3), lr=lr)
        for lr in (0.1, 0.2)
    )
    assert panel_identity(objective, 0, None, None, one, False) != panel_identity(
        objective, 0, None, None, other, False
    )
