"""A private copy of a network's structure, in which the tensors given to a call stand: the user's modules are never touched.

Whatever interrupts an evaluation, and whichever thread looks at the user's network meanwhile, finds its parameters, flags and
attributes as they were.
"""

from __future__ import annotations

import copy
import types
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from landscape.function.guard import handle_held
from landscape.function.parameters import cast

_CONTAINERS = (list, dict, OrderedDict, set)
_ATOMS = (str, bytes, int, float, bool, type(None), Tensor)


class Structure:
    """The modules of a network, copied without their tensors.

    >>> layer = nn.Linear(1, 1, bias=False)
    >>> network = nn.Sequential(layer, layer)
    >>> Structure(network).call({"0.weight": torch.tensor([[3.0]])}, lambda model: model(torch.ones(1)))
    tensor([9.])

    Attributes:
        model: the copy. Between calls it holds the user's own tensors. Nothing in it is compiled, and embeddings look tokens
            up without what PyTorch does to the gradient alone, so that all derivatives are those of one function.
    """

    def __init__(self, model: nn.Module):
        self._copier = _Copier(model)
        self.model: nn.Module = self._copier.copy(model)
        self._slots = list(self._found(model))
        for module in self.model.modules():
            if isinstance(module, nn.EmbeddingBag):
                module.sparse, module.scale_grad_by_freq = False, False
            elif isinstance(module, nn.Embedding):
                shared = sum(holder[key] is module.weight for holder, key, _ in self._slots) > 1
                _make_plain(module, constant=not shared)

    def _found(self, model: nn.Module) -> Iterator[tuple[dict[str, Any] | _Attributes, str, str]]:
        """Yield every place of a tensor in the copy: what holds it, under which key, and the first name of that tensor.

        A module that is registered under several names has one place; modules that share a tensor have several.
        """
        first: dict[int, tuple[str, Tensor]] = {}  # the tensors too, so that no id is given away again
        for prefix, module in model.named_modules():
            twin = self._copier.copy(module)
            for kind in ("_parameters", "_buffers"):
                holder = _Attributes(twin) if isinstance(twin, torch.jit.ScriptModule) else getattr(twin, kind)
                for key, tensor in getattr(module, kind).items():
                    if tensor is not None:
                        name = f"{prefix}.{key}" if prefix else key
                        yield holder, key, first.setdefault(id(tensor), (name, tensor))[0]

    @property
    def places(self) -> list[str]:
        """The names of the tensors that stand in the places, one for each place."""
        return [name for _, _, name in self._slots]

    def call(self, tensors: Mapping[str, Tensor], compute: Callable[[nn.Module], Any]) -> Any:
        """Return ``compute(model)`` with the named tensors in place of the network's own, wherever they occur in it."""
        handle_held()
        placed = [(holder, key, tensors[name]) for holder, key, name in self._slots if name in tensors]
        before = [holder[key] for holder, key, _ in placed]
        try:
            for holder, key, tensor in placed:
                holder[key] = tensor
            return compute(self.model)
        finally:  # a call inside another one, with tensors of a transform of its own, must not leave them behind
            for (holder, key, _), tensor in zip(placed, before, strict=True):
                holder[key] = tensor

    def adopted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that finds the copy's modules where the given one, in its closure, has the user's."""
        return self._copier.copy(function) if self._copier.reaches(function) else function


def deep_copy(model: nn.Module) -> nn.Module:
    """Return a deep copy of a network, also of one that keeps results of a forward pass, as `torch.nn.utils.weight_norm` does."""
    held = (value for module in model.modules() for value in vars(module).values() if isinstance(value, Tensor))
    return copy.deepcopy(model, {id(value): value.detach().clone() for value in held if not value.is_leaf})


def converted(model: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Return a deep copy of a network on a device, in a floating-point type; complex numbers stay complex."""
    return deep_copy(model)._apply(lambda tensor: tensor.to(device, cast(tensor.dtype, dtype)))


class _Attributes:
    """The tensors of a scripted module, which live outside Python, as a mapping holds them."""

    def __init__(self, module: torch.jit.ScriptModule):
        self.module = module

    def __getitem__(self, key: str) -> Any:
        return getattr(self.module, key)

    def __setitem__(self, key: str, value: Any) -> None:
        setattr(self.module, key, value)


class _Plain(nn.Module):
    """What stands for a compiled module: the module, not compiled."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._orig_mod(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name == "_orig_mod":
            return self._modules[name]
        return getattr(self._modules["_orig_mod"], name)


class _Copier:
    """Copies modules and whatever leads to them: containers, bound methods, closures, hooks. Tensors are shared."""

    def __init__(self, model: nn.Module):
        self._copies: dict[int, Any] = {}
        self._originals: list[Any] = []  # so that no id is given away again
        self._network = {id(module) for module in model.modules()}
        for module in model.modules():
            self._copy_module(module)

    def reaches(self, value: Any, *, objects: bool = True, seen: set[int] | None = None) -> bool:
        """Whether a value leads to a module of the network."""
        seen = set() if seen is None else seen
        if isinstance(value, _ATOMS) or id(value) in seen:
            return False
        if id(value) in self._network:
            return True
        seen.add(id(value))
        if isinstance(value, nn.Module):
            return any(id(module) in self._network for module in value.modules())
        if isinstance(value, types.FunctionType):
            parts: Iterable[Any] = _captured(value)
        elif isinstance(value, Mapping):
            parts = [*value.keys(), *value.values()] if isinstance(value, dict) else ()
        elif isinstance(value, list | tuple | set | frozenset):
            parts = value
        elif isinstance(value, types.MethodType):
            parts = (value.__self__, value.__func__)
        elif isinstance(value, partial):
            parts = (value.func, *value.args, *value.keywords.values())
        elif isinstance(value, weakref.ref):
            parts = (value(),)
        elif objects and _is_plain(value):
            # what such an object holds itself: beyond that lie trainers and loggers, which are not for copying
            return any(self.reaches(part, objects=False, seen=seen) for part in vars(value).values())
        else:
            return False
        return any(self.reaches(part, objects=objects, seen=seen) for part in parts)

    def copy(self, value: Any) -> Any:
        """Return a value with copied modules in the places of the user's; what leads to none of them stays as it is."""
        if isinstance(value, _ATOMS):
            return value
        if id(value) in self._copies:
            return self._copies[id(value)]
        if type(value) in _CONTAINERS:  # those of a module are its state
            return self._copy_container(value)
        if not self.reaches(value):
            return value
        if isinstance(value, nn.Module):
            return self._copy_module(value)
        return self._remember(value, self._copy_other(value))

    def _remember(self, value: Any, twin: Any) -> Any:
        self._copies[id(value)] = twin
        self._originals.append(value)
        return twin

    def _copy_container(self, value: Any) -> Any:
        twin: Any = self._remember(value, type(value)())
        if isinstance(value, dict):
            for key, item in value.items():
                twin[self.copy(key)] = self.copy(item)
        elif isinstance(value, list):
            twin.extend(self.copy(item) for item in value)
        else:
            twin.update(self.copy(item) for item in value)
        return twin

    def _copy_other(self, value: Any) -> Any:
        if isinstance(value, types.MethodType):
            return types.MethodType(self.copy(value.__func__), self.copy(value.__self__))
        if isinstance(value, partial):
            keywords = {key: self.copy(item) for key, item in value.keywords.items()}
            return partial(self.copy(value.func), *map(self.copy, value.args), **keywords)
        if isinstance(value, types.FunctionType):
            return self._copy_function(value)
        if isinstance(value, weakref.ref):
            return weakref.ref(self.copy(value()))
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*map(self.copy, value))
        if isinstance(value, tuple | frozenset):
            return type(value)(map(self.copy, value))
        twin: Any = copy.copy(value) if isinstance(value, list | dict) else _blank(type(value))
        self._remember(value, twin)
        if isinstance(value, dict):
            twin.update({key: self.copy(item) for key, item in value.items()})
        elif isinstance(value, list):
            twin[:] = map(self.copy, value)
        if _is_plain(value):
            vars(twin).update({key: self.copy(item) for key, item in vars(value).items()})
        return twin

    def _copy_function(self, function: types.FunctionType) -> types.FunctionType:
        cells = tuple(self._copy_cell(cell) for cell in function.__closure__ or ())
        twin = types.FunctionType(function.__code__, function.__globals__, function.__name__, None, cells)
        self._remember(function, twin)  # before the cells are filled: a function may hold itself
        for cell, original in zip(cells, function.__closure__ or (), strict=True):
            if _is_filled(original):
                cell.cell_contents = self.copy(original.cell_contents)
        twin.__defaults__ = self.copy(function.__defaults__)
        twin.__kwdefaults__ = self.copy(function.__kwdefaults__)
        twin.__qualname__ = function.__qualname__
        vars(twin).update(vars(function))
        return twin

    def _copy_cell(self, cell: types.CellType) -> types.CellType:
        """Return the cell that stands for one: functions that share a variable go on sharing it."""
        if id(cell) not in self._copies:
            self._remember(cell, types.CellType())
        return self._copies[id(cell)]

    def _copy_module(self, module: nn.Module) -> nn.Module:
        if id(module) in self._copies:
            return self._copies[id(module)]
        if isinstance(module, torch.jit.ScriptModule):  # its tensors are copied, too
            whole = copy.deepcopy(module)
            for theirs, ours in zip(module.modules(), whole.modules(), strict=True):
                self._remember(theirs, ours)
            return self._remember(module, whole)
        twin: nn.Module
        state = vars(module)
        if isinstance(state.get("_modules", {}).get("_orig_mod"), nn.Module):
            twin = self._remember(module, _Plain())
            state = {"_modules": state["_modules"], "training": module.training}
        else:
            kind = type(module)
            if hasattr(
                module, "_get_fsdp_state"
            ):  # FSDP2 put its class and hooks there; there is no public sign of that
                from landscape.function.shards import without_hooks  # loads torch.distributed.tensor, half a second

                kind, state = without_hooks(module)
            twin = self._remember(module, _blank(kind))
        for key, value in state.items():
            # hooks that lead back to no module are shared: one that is registered later is called here, too
            shared = key.endswith("_hooks") and not self.reaches(value)
            vars(twin)[key] = value if shared else self.copy(value)
        vars(twin).pop("_compiled_call_impl", None)
        for key in _slots(type(module)):
            if hasattr(module, key):
                object.__setattr__(twin, key, self.copy(getattr(module, key)))
        return twin


def _blank(kind: Any) -> Any:
    try:
        return object.__new__(kind)
    except TypeError:  # a module that is a list as well, or a namespace
        return kind.__new__(kind)


def _slots(kind: type) -> list[str]:
    declared = [vars(base).get("__slots__", ()) for base in kind.__mro__]
    names = [name for slots in declared for name in ([slots] if isinstance(slots, str) else slots)]
    return [name for name in names if name not in ("__dict__", "__weakref__")]


def _is_plain(value: Any) -> bool:
    """Whether a value is an object of a class written by somebody else than Python, PyTorch and NumPy."""
    origin = type(value).__module__.partition(".")[0]
    return hasattr(value, "__dict__") and not isinstance(value, type) and origin not in ("builtins", "torch", "numpy")


def _captured(function: types.FunctionType) -> Iterator[Any]:
    """Yield what a function holds besides its code: its closure and its defaults."""
    yield from (cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell))
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()


def _is_filled(cell: types.CellType) -> bool:
    """Whether a variable of a closure has been given a value."""
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _make_plain(embedding: nn.Embedding, *, constant: bool) -> None:
    """Make the gradient dense, not divided by how often a token occurs, and the vector of the padding token a constant.

    As a constant it has no derivative in training either; PyTorch forgets it in second and forward-mode derivatives.
    A vector that another module holds as well, as a tied head does, is none: L changes with it in both places.
    """
    padding, look_up = embedding.padding_idx if constant else None, embedding.forward

    def forward(input: Tensor) -> Tensor:
        vectors = look_up(input)
        return vectors if padding is None else torch.where((input == padding).unsqueeze(-1), vectors.detach(), vectors)

    embedding.padding_idx, embedding.sparse, embedding.scale_grad_by_freq = None, False, False
    embedding.forward = forward  # type: ignore[method-assign]


class Watch(TorchDispatchMode):
    """Inside this block, notes which of some tensors any operation reads, through whatever view or alias.

    >>> weight = torch.ones(2)
    >>> with Watch({"weight": weight}) as watch:
    ...     _ = weight[:1] * 2
    >>> watch.read
    ['weight']
    """

    def __init__(self, tensors: Mapping[str, Tensor]):
        super().__init__()
        self._names = {_storage(tensor): name for name, tensor in tensors.items() if tensor.numel()}
        self.read: list[str] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Functions run as they are written: what would keep the compiler out need not be imported, which takes a second."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Look at the arguments, then run the operation."""
        for leaf in tree_leaves((args, kwargs)):
            name = self._names.get(_storage(leaf)) if isinstance(leaf, Tensor) else None
            if name is not None and name not in self.read:
                self.read.append(name)
        return func(*args, **(kwargs or {}))


def _storage(tensor: Tensor) -> int | None:
    try:
        return tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):  # sparse tensors and others without one
        return None
