"""A network gets from a file what its own ``load_state_dict`` would give it, whoever wrote the file."""

import copy
import threading
import warnings

import pytest
import torch
from safetensors.torch import load_model, save_model
from torch import nn
from torch.nn.utils import parametrizations, prune

import landscape as ls
from landscape.errors import LandscapeError
from landscape.function.fitting import fit_weights
from landscape.function.weights import load_weights

X = torch.linspace(-1, 1, 24).reshape(6, 4)


def norms():
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3))


class Tied(nn.Module):
    def __init__(self, tied=True):
        super().__init__()
        self.first, self.head = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        if tied:
            self.head.weight = self.first.weight

    def forward(self, x):
        return self.head(torch.tanh(self.first(x)))


class Masked(nn.Linear):
    def __init__(self):
        super().__init__(4, 4)
        self.register_buffer("mask", torch.full((4, 4), float("-inf")).triu(1))

    def forward(self, x):
        return torch.softmax(self.weight + self.mask, 1)[0] * x


class Headed(nn.Module):
    """A base network below a head, as in Hugging Face; each of them is called alone, too."""

    def __init__(self):
        super().__init__()
        self.base, self.head = norms(), nn.Linear(3, 2)

    def forward(self, x):
        return self.head(self.base(x))


class Hooked(nn.Linear):
    """A layer that once called its weight ``kernel`` and stored it transposed."""

    _version = 2

    def _load_from_state_dict(self, state, prefix, metadata, *rest):
        if metadata.get("version", 1) < 2 and f"{prefix}kernel" in state:
            state[f"{prefix}weight"] = state.pop(f"{prefix}kernel").T
        super()._load_from_state_dict(state, prefix, metadata, *rest)


class Extra(nn.Linear):
    def get_extra_state(self):
        return {"scale": 1}

    def set_extra_state(self, state):
        pass


class Once(nn.Linear):
    """A layer with a buffer that older files kept."""

    def __init__(self, persistent=False):
        super().__init__(4, 4)
        self.register_buffer("scale", torch.ones(4), persistent=persistent)

    def forward(self, x):
        return super().forward(x) * self.scale


def old_weight_norm():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.utils.weight_norm(nn.Linear(4, 3))


def around(put):
    """Names with something before every one of them; versions of modules go with dictionaries of our own."""
    return lambda state: {f"{put}{name}": tensor for name, tensor in state.items()}


def between(part):
    return lambda state: {f"{name[0]}.{part}{name[1:]}": tensor for name, tensor in state.items()}


def without(*ends):
    def left(state):
        kept = copy.copy(state)  # an OrderedDict that keeps the versions of its modules
        for name in [name for name in state if name.endswith(ends)]:
            del kept[name]
        return kept

    return left


def doubled(state):
    return {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def kernels(state):
    return {"kernel": state["weight"].T, "bias": state["bias"]}


CASES = {
    # (network that was trained, network that is given, what the file holds of its state, keywords, what is said)
    "plain": (norms, norms, dict, {}, ""),
    "as the module gives it": (norms, norms, lambda state: state, {}, ""),
    "data parallel": (norms, norms, around("module."), {}, "without"),
    "compiled": (norms, norms, around("_orig_mod."), {}, ""),
    "compiled below data parallel": (norms, norms, around("module._orig_mod."), {}, ""),
    "Lightning": (
        norms, norms, lambda s: {"state_dict": around("model.")(s), "epoch": 3, "loops": {"a": 1}}, {},
        "['state_dict'] without 'model.'"
    ),
    "Lightning, compiled": (norms, norms, around("net._orig_mod."), {}, "without '_orig_mod.', 'net.'"),
    "Lightning, criterion": (
        norms, norms, lambda s: around("model.")(s) | {"criterion.weight": torch.ones(3), "metrics.n": torch.ones(1)}, {},
        "left out 'criterion', 'metrics' beside 'model.'",
    ),
    "FSDP": (norms, norms, between("_fsdp_wrapped_module"), {}, ""),
    "activation checkpoints": (norms, norms, between("_checkpoint_wrapped_module"), {}, ""),
    "two prefixes": (norms, norms, around("trainer.backbone."), {}, "without 'trainer.backbone.'"),
    "moving average beside": (
        norms, norms, lambda s: {"state_dict": s, "state_dict_ema": {k: 0 * v for k, v in s.items()}}, {},
        "left out the average 'state_dict_ema'",
    ),
    "moving average asked for": (
        norms, norms, lambda s: {"state_dict": {k: 0 * v for k, v in s.items()}, "state_dict_ema": s},
        {"key": "state_dict_ema"}, "['state_dict_ema']",
    ),
    "moving average alone": (norms, norms, lambda s: {"model_ema": s, "updates": 3}, {}, "is an average of weights"),
    "Lightning, averaging": (
        norms, norms, lambda s: {"state_dict": s, "current_model_state": s, "averaging_state": {"n_averaged": torch.ones(1)}},
        {}, "it is an average of weights; key='current_model_state'",
    ),
    "weight averaging": (
        norms, norms, lambda s: {"n_averaged": torch.tensor(3), **around("module.")(s)}, {},
        "left out 'n_averaged'; the weights are an average",
    ),
    "counters": (
        norms, norms, lambda s: {**s, "total_ops": torch.zeros(1), "0.total_params": torch.zeros(1)}, {},
        "left out 'total_ops', '0.total_params'",
    ),
    "the only state dict": (norms, norms, lambda s: {"encoder": s, "step": 5}, {}, "['encoder']"),
    "student asked for": (
        norms, norms, lambda s: around("student.")(s) | around("teacher.")({k: 0 * v for k, v in s.items()}),
        {"prefix": "student"}, "left out 'teacher'",
    ),
    "the part of its shapes": (
        *[lambda: nn.Linear(4, 3)] * 2, lambda s: around("a.")({k: torch.ones(4, 4) for k in s}) | around("b.")(s), {},
        "without 'b.'; left out 'a' beside 'b.'",
    ),
    "a part for the whole of a wrapper": (norms, lambda: nn.Sequential(norms()), dict, {}, ""),
    "batch norm of before version 2": (norms, norms, lambda s: dict(without("num_batches_tracked")(s)), {}, ""),
    "half precision": (norms, norms, lambda s: {k: v.half() if v.is_floating_point() else v for k, v in s.items()}, {}, ""),
    "old weight norm": (old_weight_norm, lambda: parametrizations.weight_norm(nn.Linear(4, 3)), dict, {}, ""),
    "old weight norm, Lightning": (
        old_weight_norm, lambda: parametrizations.weight_norm(nn.Linear(4, 3)), around("model."), {}, "without 'model.'",
    ),
    "weight norm": (old_weight_norm, old_weight_norm, dict, {}, ""),
    "spectral norm": (*[lambda: parametrizations.spectral_norm(nn.Linear(4, 3))] * 2, dict, {}, ""),
    "pruned": (*[lambda: prune.l1_unstructured(nn.Linear(4, 3), "weight", 0.5)] * 2, dict, {}, ""),
    "tied": (Tied, Tied, dict, {}, ""),
    "tied, once": (Tied, Tied, without("head.weight"), {}, ""),
    "two tensors for a tied one": (lambda: Tied(False), Tied, dict, {}, ""),
    "a mask of infinities": (Masked, Masked, dict, {}, ""),
    "a base below its head": (Headed, Headed, dict, {}, ""),
    "a head beside its base": (Headed, norms, dict, {}, "left out 'head' beside 'base.'"),
    "an own hook": (*[lambda: Hooked(4, 4)] * 2, kernels, {}, ""),
    "extra state": (*[lambda: Extra(4, 3)] * 2, dict, {}, "left out '_extra_state'"),
    "a buffer that is no longer kept": (lambda: Once(True), Once, dict, {}, ""),
    "recurrent": (*[lambda: nn.LSTM(4, 3)] * 2, around("module."), {}, ""),
}  # fmt: skip
OWNERS = {
    "half precision": lambda net, trained: (net.load_state_dict(trained.half().state_dict()), trained.float()),
    "a head beside its base": lambda net, trained: net.load_state_dict(trained.base.state_dict()),
    "a part for the whole of a wrapper": lambda net, trained: net[0].load_state_dict(trained.state_dict()),
    "an own hook": lambda net, trained: net.load_state_dict(kernels(trained.state_dict())),
    "a buffer that is no longer kept": lambda net, trained: (
        net.load_state_dict(trained.state_dict(), strict=False), net.scale.copy_(trained.scale)
    ),
}  # fmt: skip


def networks(trained, given):
    """The network that was trained, with weights of its own, and one that is given to the package, and to its owner."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        nets = trained(), given(), given()
        with torch.no_grad():
            for tensor in (*nets[0].parameters(), *nets[0].buffers()):
                if tensor.is_floating_point() and tensor.isfinite().all():
                    tensor.add_(torch.rand_like(tensor) / 8)
    return nets


@pytest.mark.parametrize("kind", ["file", "file of old", "mapping"])
@pytest.mark.parametrize("case", CASES)
def test_weights_are_those_that_the_owner_loads(case, kind, tmp_path):
    trained, given, content, keywords, said = CASES[case]
    trained, net, owners = networks(trained, given)
    source = content(trained.state_dict())
    if kind != "mapping":
        torch.save(source, tmp_path / "w.pt", _use_new_zipfile_serialization=kind == "file")
        source = tmp_path / "w.pt"
    with torch.no_grad():
        OWNERS.get(case, lambda net, trained: net.load_state_dict(trained.state_dict()))(owners, trained)
        before = copy.deepcopy(dict(net.state_dict()))
        weights = load_weights(source, key=keywords.get("key"))
        fitted = fit_weights(net, weights, prefix=keywords.get("prefix"))
        ours, theirs = torch.func.functional_call(net.eval(), dict(fitted), (X,), tie_weights=False), owners.eval()(X)
    assert said in "; ".join((fitted.source, *fitted.left_out))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    after = net.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before if torch.is_tensor(before[name]))


def lora(state):
    return {f"base_model.model.0.lora_{half}.weight": torch.ones(2, 2) for half in "AB"}


def changed(name, change):
    return lambda state: {**state, name: change(state[name])}


def quantised(tensor):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8)


REFUSED = {
    # (network, what the file holds of its state, keywords, message)
    "student and teacher": (
        norms, lambda s: around("student.")(s) | around("teacher.")(s), {},
        r"2 parts fit the model, 'student\.', 'teacher\.'; choose one with prefix=",
    ),
    "no such prefix": (norms, around("a."), {"prefix": "b."}, r"under 'b\.'; expected one of 'a\.'"),
    "two state dicts": (
        norms, lambda s: {"generator": s, "critic": s}, {}, "2 state dicts, 'generator', 'critic'; choose one with key=",
    ),
    "two of the usual names": (norms, lambda s: {"model": s, "net": s}, {}, "2 state dicts, 'model', 'net'"),
    "two averages": (norms, lambda s: {"ema": s, "swa": s}, {}, "2 averages, 'ema', 'swa'; choose one with key="),
    "no such key": (norms, lambda s: {"model": s, "step": 1}, {"key": "ema"}, "no entry 'ema'; expected one of 'model', 'step'"),
    "a base without its head": (Headed, lambda s: norms().state_dict(), {}, r"they lack 'head\.weight', 'head\.bias'; a part"),
    "a base without its head, prefixed": (
        Headed, without("head.weight", "head.bias"), {}, r"they lack 'head\.weight', 'head\.bias'; a part",
    ),
    "an adapter": (norms, lora, {}, r"hold an adapter \(.*\) without its base network; load both"),
    "an adapter and its base": (
        norms, lambda s: {**lora(s), **{name.replace("0.", "0.base_layer."): t for name, t in s.items()}}, {},
        r"hold an adapter \('base_model.*0\.lora_A.* that the model has no place for",
    ),
    "missing and unexpected": (
        norms, lambda s: {**without("3.bias")(s), "extra": torch.ones(1)}, {}, r"lack '3\.bias' and have unexpected 'extra'",
    ),
    "counters of a new file are missed": (norms, without("num_batches_tracked"), {}, r"lack '1\.num_batches_tracked'"),
    "counters of a new file below a wrapper": (
        lambda: nn.Sequential(norms()), lambda s: without("num_batches_tracked")(norms().state_dict()), {},
        r"lack '0\.1\.num_batches_tracked'",
    ),
    "other shapes": (norms, changed("3.bias", lambda t: torch.ones(5)), {}, r"3\.bias \(5,\), the model has \(3,\)"),
    "NaN": (norms, changed("0.weight", lambda t: t / 0 * 0), {}, r"NaN or infinite in '0\.weight'"),
    "infinite": (norms, changed("0.weight", lambda t: t + float("inf")), {}, r"NaN or infinite in '0\.weight'"),
    "NaN in a buffer": (norms, changed("1.running_var", lambda t: t * float("nan")), {}, r"in '1\.running_var'"),
    "sparse": (norms, changed("0.weight", torch.Tensor.to_sparse), {}, "sparse; save dense floating-point weights"),
    "quantised": (norms, changed("0.weight", quantised), {}, "quantised; save dense floating-point weights"),
    "complex": (norms, changed("0.weight", lambda t: t + 1j), {}, "is complex, the model's is real"),
    "integers": (norms, changed("0.weight", torch.Tensor.char), {}, r"is torch\.int8: packed or quantised"),
    "on no device": (lambda: norms().to("meta"), lambda s: norms().state_dict(), {}, "has no values yet"),
    "lazy": (lambda: nn.LazyLinear(3), lambda s: nn.Linear(4, 3).state_dict(), {}, "'weight' of the model has no values yet"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["file", "mapping"])
@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_in_one_line(case, kind, tmp_path):
    given, content, keywords, message = REFUSED[case]
    net = given()
    source = content(net.state_dict())
    if kind == "file":
        torch.save(source, tmp_path / "w.pt")
        source = tmp_path / "w.pt"
    with pytest.raises(LandscapeError, match=message) as caught:
        fit_weights(net, load_weights(source, key=keywords.get("key")), prefix=keywords.get("prefix"))
    assert "\n" not in str(caught.value)


def test_tied_weights_are_stored_once_by_safetensors(tmp_path):
    trained, net, owners = networks(Tied, Tied)
    save_model(trained, str(tmp_path / "w.safetensors"))
    load_model(owners, str(tmp_path / "w.safetensors"))
    fitted = fit_weights(net, load_weights(tmp_path / "w.safetensors"))
    assert torch.equal(fitted["head.weight"], owners.head.weight)
    assert torch.equal(fitted["first.weight"], owners.first.weight)


def test_parameters_keep_a_higher_precision_than_the_networks():
    net = norms()
    state = {k: v.double() + 1e-12 if v.is_floating_point() else v for k, v in net.state_dict().items()}
    fitted = fit_weights(net, state)
    assert torch.equal(fitted["0.weight"], state["0.weight"])
    assert fitted["1.running_var"].dtype == net[1].running_var.dtype


def test_hooks_of_loading_change_the_copy_alone():
    def grow(module, state, prefix, *_):
        module.grown = True
        module.table = nn.Buffer(torch.zeros_like(state[f"{prefix}table"]))

    net = nn.Linear(4, 3)
    net.table = nn.Buffer(torch.zeros(2))
    net.lock, net.trainer = threading.Lock(), net.state_dict  # what cannot be copied, or leads back to the network
    net.register_load_state_dict_pre_hook(grow)
    fitted = fit_weights(net, {**net.state_dict(), "table": torch.ones(5)})
    assert torch.equal(fitted["table"], torch.ones(5))
    assert net.table.shape == (2,)
    assert not hasattr(net, "grown")


def test_fitted_weights_are_not_fitted_again():
    net = norms()
    fitted = fit_weights(net, net.state_dict())
    assert fit_weights(net, fitted) is fitted
    assert fit_weights(norms(), fitted) is not fitted


def test_an_objective_takes_weights_as_a_checkpoint_does():
    trained, net, _ = networks(norms, norms)
    objective = ls.Objective(net, (X, torch.arange(6) % 3), "cross_entropy")
    moved = objective.at(dict(without("num_batches_tracked")(around("module.")(trained.state_dict()))))
    assert moved.loss() == ls.Objective(trained, (X, torch.arange(6) % 3), "cross_entropy").loss()
