"""Weights under the names of a network: found by what its own ``load_state_dict`` does on a private copy of it."""

from __future__ import annotations

import copy
import os
import weakref
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from landscape.errors import LandscapeError
from landscape.function.group import shards_of
from landscape.function.structure import Structure
from landscape.function.weights import Weights, few, load_weights

_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"}
"""Names that DataParallel, torch.compile, FSDP, activation checkpoints and DeepSpeed put between those of a network."""
_COUNTERS = {"n_averaged", "total_ops", "total_params"}
"""Numbers that weight averaging and counters of operations leave beside the weights."""
_ADAPTERS = {"lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector"}


def fit_weights(model: nn.Module, weights: Mapping[str, Tensor], *, prefix: str | None = None) -> Weights:
    """Return weights under a network's own names, as its ``load_state_dict`` understands them.

    They are loaded into a private copy of the network, so that its hooks, the versions of its modules, renamed
    parametrisations and tied weights count as they do for its owner. Names that wrappers put around or between
    (``module.``, ``_orig_mod.``, Lightning's ``model.`` …) are taken off; what lies beside the network is left out.

    Args:
        model: the network; it is not changed.
        weights: tensors by name, as `load_weights` returns them.
        prefix: what comes before the network's names where several parts of the file fit, such as ``"student."``.

    Returns:
        Every parameter, and every buffer that is kept in files, on the CPU. Parameters keep a precision higher than the
        network's; buffers have its own.

    Raises:
        LandscapeError: names are missing or unexpected, several prefixes fit, shapes differ, a parameter's weights are not
            floating-point numbers, or are NaN or infinite (a buffer, such as a mask, may hold infinities).

    >>> sorted(fit_weights(nn.Linear(1, 2), {"module.weight": torch.ones(2, 1), "module.bias": torch.zeros(2)}))
    ['bias', 'weight']
    """
    if isinstance(weights, Weights) and weights.fits is model and prefix is None:
        return weights
    weights = weights if isinstance(weights, Weights) else load_weights(weights)
    void = next((name for name, tensor in _tensors(model).items() if is_lazy(tensor) or tensor.is_meta), None)
    if void is not None:
        raise LandscapeError(
            f"{void!r} of the model has no values yet; call a lazy model once, build a meta model on a device"
        )
    given, stripped, left_out = _under_own_names(model, weights, prefix)
    private = _private(model)
    parameters = dict(private.named_parameters(remove_duplicate=False))
    own = _tensors(private)
    _check_numbers(given, own, parameters)
    for name, tensor in parameters.items():
        if name in given and given[name].dtype.itemsize > tensor.dtype.itemsize:
            tensor.data = tensor.data.to(given[name].dtype)
    try:
        missing, unexpected = private.load_state_dict(given, strict=False)
    except RuntimeError as error:
        shapes = [
            f"{k} {tuple(given[k].shape)}, the model has {tuple(own[k].shape)}"
            for k in own if k in given and given[k].shape != own[k].shape
        ]  # fmt: skip
        text = f"{len(shapes)} weights have other shapes than {type(model).__name__}: {'; '.join(shapes[:3])}"
        raise LandscapeError(text if shapes else " ".join(str(error).split())[:300]) from error
    own = _tensors(private)  # hooks may have put others in their places
    loaded = {id(own[name]) for name in given if name in own}
    missing = [k for k in missing if k in own and id(own[k]) not in loaded]  # one of a tied pair suffices
    with torch.no_grad():  # buffers that files kept before they were declared not to be kept
        for name in [k for k in unexpected if k in own and own[k].shape == given[k].shape]:
            own[name].copy_(given[name])
            unexpected.remove(name)
    if missing or unexpected:
        raise LandscapeError(_misfit(model, missing, unexpected))
    _check_finite(own, parameters)
    source = weights.source + (f" without {few(stripped)}" if stripped else "")
    kept = private.state_dict().keys() | parameters.keys() | given.keys()  # not a buffer that neither side keeps
    fitted = Weights({k: own[k].detach() for k in own if k in kept}, source, (*weights.left_out, *left_out))
    fitted.fits = model
    return fitted


def read_weights(
    model: nn.Module,
    source: str | os.PathLike[str] | Mapping[str, Tensor],
    *,
    key: str | None = None,
    prefix: str | None = None,
) -> Weights:
    """Return the weights of a file, a folder or a mapping under a network's own names.

    Of a sharded network every process reads its own shards alone where the folder is one of `torch.distributed.checkpoint`,
    however many processes wrote it; other files are read whole.

    Args:
        model, prefix: as `fit_weights` takes them.
        source, key: as `load_weights` takes them.

    Raises:
        LandscapeError: as either raises; of a sharded network, in every process.
    """
    world = shards_of(model)
    if world is None or isinstance(source, Mapping) or not (Path(source).expanduser() / ".metadata").is_file():
        return fit_weights(model, load_weights(source, key=key), prefix=prefix)
    own = {name: tensor for name, tensor in model.state_dict().items() if isinstance(tensor, Tensor)}
    parts = {name: (tuple(tensor.shape), world.own_box(tensor)) for name, tensor in own.items()}
    read = world.attempt(lambda: _fitting(model, own, load_weights(source, key=key, parts=parts)))
    fitted = Weights({name: world.given_as(own[name], tensor) for name, tensor in read.items()}, read.source)
    fitted.fits = model
    return fitted


def _fitting(model: nn.Module, own: Mapping[str, Tensor], read: Weights) -> Weights:
    """Check parts of weights that have the network's own names already, and give them its precision, or a higher one."""
    missing, unexpected = ([name for name in a if name not in b] for a, b in ((own, read), (read, own)))
    if missing or unexpected:
        raise LandscapeError(_misfit(model, missing, unexpected))
    parameters = dict(model.named_parameters(remove_duplicate=False))
    _check_numbers(read, own, parameters)
    _check_finite(read, parameters)
    for name, tensor in read.items():
        finer = name in parameters and tensor.dtype.itemsize > own[name].dtype.itemsize
        read[name] = tensor if finer else tensor.to(own[name].dtype)
    return read


def _check_finite(tensors: Mapping[str, Tensor], parameters: Collection[str]) -> None:
    broken = [k for k, t in tensors.items() if not (t.isfinite() if k in parameters else t == t).all()]
    if broken:
        raise LandscapeError(
            f"the weights are NaN or infinite in {few(broken)}; the training diverged: use earlier ones"
        )


def _private(model: nn.Module) -> nn.Module:
    """Copy a network's structure to the CPU, with tensors of its own to load into, and hooks of loading that find the copy."""
    private, tensors = Structure(model).model, dict[int, Tensor]()
    for module in private.modules():
        if isinstance(module, torch.jit.ScriptModule):
            continue  # copied with its tensors
        holders: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for holder in holders:
            for key, tensor in holder.items():
                if tensor is not None and id(tensor) not in tensors:
                    own = tensor.detach().to("cpu", copy=True)
                    trained = isinstance(tensor, nn.Parameter)
                    tensors[id(tensor)] = nn.Parameter(own, tensor.requires_grad) if trained else own
                holder[key] = tensors.get(id(tensor))
        hooks = module._load_state_dict_pre_hooks
        vars(module)["_load_state_dict_pre_hooks"] = type(hooks)(
            (key, _bound(hook, module)) for key, hook in hooks.items()
        )
    return private


def _bound(hook: Any, module: nn.Module) -> Any:
    """Return a hook that is given the module it was registered on, and is to be given another."""
    if getattr(hook, "with_module", False):
        hook = copy.copy(hook)
        hook.module = weakref.ref(module)
    return hook


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers(remove_duplicate=False))}


def _under_own_names(
    model: nn.Module, weights: Weights, prefix: str | None
) -> tuple[Weights, list[str], tuple[str, ...]]:
    """Rename weights to the network's names where only wrappers or one prefix differ; say what was taken off and left out."""
    own = _tensors(model)
    counters = [name for name in weights if name.split(".")[-1] in _COUNTERS and name not in own]
    left_out: tuple[str, ...] = (f"left out {few(counters)}",) if counters else ()
    if "n_averaged" in counters:
        left_out += ("the weights are an average, not those that training ended at",)
    names = {name: name for name in weights if name not in counters}
    versions = {path: f"{path}." for path in weights._metadata or {}}
    off = on = ""
    stripped = []
    if prefix is not None or not own.keys() & model.state_dict().keys() <= names.keys():
        bare = {_bare(name): name for name in own}
        wrapped = bare.keys() != own.keys()
        for renamed in (names, versions):
            for name, now in renamed.items():
                renamed[name] = bare.get(_bare(now), now if wrapped else _bare(now))
        off, on = _prefixes({name: weights[old].shape for old, name in names.items()}, own, prefix)
        parts = [{part for name in some for part in name.split(".")} & _WRAPPERS for some in (weights, own)]
        stripped = [f"{part}." for part in sorted(parts[0] - parts[1])] + [off] * (off != "")
    beside = sorted({name.split(".")[0] for name in names.values() if not name.startswith(off)})
    if beside:
        left_out += (f"left out {few(beside)} beside {off!r}",)
    found = {on + now.removeprefix(off): weights[name] for name, now in names.items() if now.startswith(off)}
    known = {
        (on + now.removeprefix(off)).removesuffix("."): weights._metadata[path]
        for path, now in versions.items() if now.startswith(off)
    }  # fmt: skip
    return Weights(found, versions=known or None), stripped, left_out


def _prefixes(shapes: Mapping[str, torch.Size], own: Mapping[str, Tensor], asked: str | None) -> tuple[str, str]:
    """Return the prefix to take off a file's names, or to put before them, so that most of them are the network's.

    Raises:
        LandscapeError: several prefixes fit equally well, or none of the network's names has the one that was asked for.
    """
    fitting: Counter[tuple[str, str]] = Counter()
    for name, shape in shapes.items():
        for at in _places(name):
            if name[at:] in own:
                fitting[name[:at], ""] += own[name[at:]].shape == shape
    if asked is not None:
        asked = asked and asked.removesuffix(".") + "."
        if (asked, "") not in fitting:
            there = few(sorted(off for off, _ in fitting), 12)
            raise LandscapeError(f"no weights of the model lie under {asked!r}; expected one of {there}")
        return asked, ""
    for name, tensor in own.items():
        for at in _places(name)[1:]:
            if name[at:] in shapes:  # the file holds one part of the network, such as a base without its head
                fitting["", name[:at]] += tensor.shape == shapes[name[at:]]
    most = max(fitting.values(), default=0)
    best = sorted(pair for pair, count in fitting.items() if count == most and 2 * count >= len(own))
    if len(best) > 1 and best[0][0]:
        raise LandscapeError(
            f"{len(best)} parts fit the model, {few([off for off, _ in best], 12)}; choose one with prefix="
        )
    if len(best) == 1:
        return best[0]
    firsts = {name[: name.find(".") + 1] for name in shapes}
    return (firsts.pop(), "") if len(firsts) == 1 and not fitting["", ""] else ("", "")


def _places(name: str) -> list[int]:
    """Return where the parts of a name begin."""
    return [0, *(at + 1 for at, letter in enumerate(name) if letter == ".")]


def _bare(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _check_numbers(given: Weights, own: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> None:
    for name, tensor in given.items():
        wrapped = type(tensor).__torch_dispatch__ is not Tensor.__torch_dispatch__  # DTensor, torchao
        if tensor.is_quantized or tensor.layout != torch.strided or wrapped:
            kind = "quantised" if tensor.is_quantized else f"a {type(tensor).__name__}" if wrapped else "sparse"
            raise LandscapeError(f"{name!r} is {kind}; save dense floating-point weights")
        if name in own and tensor.is_complex() and not own[name].is_complex():
            raise LandscapeError(f"{name!r} is complex, the model's is real; build the model it was saved from")
        if name in parameters and not (tensor.is_floating_point() or tensor.is_complex()):
            raise LandscapeError(f"{name!r} is {tensor.dtype}: packed or quantised; save floating-point weights")


def _misfit(model: nn.Module, missing: list[str], unexpected: list[str]) -> str:
    adapter = [name for name in unexpected if any(part in _ADAPTERS for part in name.split("."))]
    if missing and adapter:
        base = "without its base network" if adapter == unexpected else "that the model has no place for"
        return f"the weights hold an adapter ({few(adapter, 1)}) {base}; load both as PEFT does, then pass that model alone"
    parts = [f"{word} {few(names)}" for word, names in (("lack", missing), ("have unexpected", unexpected)) if names]
    remedy = "build the model they were saved from"
    if missing and not unexpected:
        remedy = "a part, such as a base without its head, is no trained network: save all of it"
    return f"the weights do not fit {type(model).__name__}: they {' and '.join(parts)}; {remedy}"
