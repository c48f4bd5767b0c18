"""Checkpoints: weights in, objectives out, the user's model left alone."""

from argparse import Namespace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import landscape as ls

X, Y = torch.arange(40.0).reshape(10, 4) / 40, torch.arange(10) % 3


def network(seed=0):
    return ls.models.mlp((4, 6, 3), seed=seed)


def test_weights_from_a_file_a_state_dict_or_the_model(tmp_path):
    trained = network(1)
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    torch.save(trained.state_dict(), tmp_path / "w.pt")
    sources = [tmp_path / "w.safetensors", str(tmp_path / "w.pt"), trained.state_dict()]
    losses = [ls.Checkpoint(network(), w, loss="cross_entropy", train=(X, Y)).objective().loss() for w in sources]
    assert losses == [ls.Objective(trained, (X, Y), "cross_entropy").loss()] * 3


def test_model_keeps_its_own_weights_and_may_be_trained_on():
    model = network()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    ckpt = ls.Checkpoint(model, network(1).state_dict(), loss="cross_entropy", train=(X, Y))
    loss = ckpt.objective().loss()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    own = ls.Checkpoint(model, loss="cross_entropy", train=(X, Y))
    at_creation = ls.Objective(model, (X, Y), "cross_entropy").loss()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1)
    assert own.objective().loss() == at_creation
    assert ckpt.objective().loss() == loss


def test_train_and_test_objectives():
    ckpt = ls.Checkpoint(network(), loss="cross_entropy", train=(X[:7], Y[:7]), test=(X[7:], Y[7:]))
    assert (ckpt.objective("train").n, ckpt.objective("test").n) == (7, 3)
    assert ckpt.objective("train") is ckpt.objective("train")
    with pytest.raises(ls.NotDefinedError, match="no test data"):
        ls.Checkpoint(network(), loss="cross_entropy", train=(X, Y)).objective("test")
    with pytest.raises(ls.LandscapeError, match="'validation'"):
        ckpt.objective("validation")


def test_norm_statistics_are_re_estimated_over_the_training_set():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))
    ckpt = ls.Checkpoint(model, loss="cross_entropy", train=(X, Y), test=(X[:5], Y[:5]))
    raw, fresh = ckpt.objective(recalibrated=False), ckpt.objective()
    assert raw.loss() == ls.Objective(model, (X, Y), "cross_entropy").loss()
    assert fresh.loss() == pytest.approx(raw.recalibrated().loss())
    assert fresh.loss() != pytest.approx(raw.loss())
    on_test = raw.on((X[:5], Y[:5])).recalibrated(raw)  # test data, statistics of the training data
    assert ckpt.objective("test").loss() == pytest.approx(on_test.loss())


def test_distance_from_initialisation():
    start, end = network(0), network(1)
    ckpt = ls.Checkpoint(end, loss="cross_entropy", train=(X, Y), init=start.state_dict(), lr=0.1)
    squares = sum((a - b).double().square().sum() for a, b in zip(start.parameters(), end.parameters(), strict=True))
    assert ckpt.distance_from_init() == pytest.approx(float(squares.detach()) ** 0.5, rel=1e-6)
    with pytest.raises(ls.NotDefinedError, match="init="):
        ls.Checkpoint(end, loss="cross_entropy", train=(X, Y)).distance_from_init()


def test_options_reach_the_objective():
    ckpt = ls.Checkpoint(network(), loss="cross_entropy", train=(X, Y), dtype=torch.float64, parameters="*.weight")
    assert ckpt.objective().dtype == torch.float64
    assert all(name.endswith("weight") for name in ckpt.objective().names)


def test_arguments_in_the_wrong_place_are_named():
    with pytest.raises(TypeError, match=r"Checkpoint\(\) got an unexpected keyword argument 'optimiser'"):
        ls.Checkpoint(network(), loss="cross_entropy", train=(X, Y), optimiser="sgd")
    with pytest.raises(ls.LandscapeError, match=r"is str, expected a torch\.nn\.Module .*: ls\.Checkpoint\(model, "):
        ls.Checkpoint("best.pt", network(), loss="cross_entropy", train=(X, Y))


def test_what_was_read_and_left_out_is_said(tmp_path):
    trained = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    state = {f"model.{name}": tensor for name, tensor in trained.state_dict().items()}
    content = {
        "state_dict": state,
        "ema": {name: 0 * tensor for name, tensor in state.items()},
        "args": Namespace(lr=0.1),
    }
    for name in "ab":
        (tmp_path / name).mkdir()
        torch.save(content, tmp_path / name / "best.pt")
    with pytest.warns(UserWarning, match=r"read best\.pt\['state_dict'\] without 'model\.'; left out") as told:
        first = ls.Checkpoint(trained, tmp_path / "a" / "best.pt", loss="cross_entropy", train=(X, Y), lr=0.1)
    assert len(told) == 1
    assert first.notes == (
        "best.pt['state_dict'] without 'model.'",
        "left out the average 'ema' (key= reads it)",
        "skipped 'argparse.Namespace', no tensors (nothing was run)",
    )
    assert repr(first) == (
        "Checkpoint(a/best: P=21, lr=0.1, norm statistics re-estimated, read from best.pt['state_dict'] without 'model.')"
    )
    with pytest.warns(UserWarning, match="skipped"):
        second = ls.Checkpoint(trained, tmp_path / "b" / "best.pt", loss="cross_entropy", train=(X, Y), key="ema")
    assert second.name == "b/best"
    assert not second.weights["0.weight"].any()


def test_weights_of_double_precision_lose_none(tmp_path):
    trained = network(1).double()
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    ckpt = ls.Checkpoint(network(), tmp_path / "w.safetensors", loss="cross_entropy", train=(X, Y), dtype=torch.float64)
    assert ckpt.objective().loss() == ls.Objective(trained, (X, Y), "cross_entropy").loss()
