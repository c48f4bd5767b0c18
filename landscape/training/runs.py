"""Trained networks, and the checkpoint, initialisation and manifest they are kept in."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from landscape._version import __version__
from landscape.datasets import Split, digits, fingerprint
from landscape.datasets.split import Pair
from landscape.errors import LandscapeError
from landscape.function.checkpoint import Checkpoint
from landscape.models import MODELS
from landscape.store.files import ordinary, replacing
from landscape.training.recipes import Recipe
from landscape.training.training_data import TrainingSet, heldout_set, training_set

FORMAT = "landscape-run"
_SCALARS = ("steps", "reached", "last_step", "train_loss", "train_accuracy", "test_loss", "test_accuracy")
ModelFactory = Callable[..., nn.Module]
StateDict = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class History:
    """Training loss and accuracy over all training examples, in evaluation mode.

    Attributes:
        epoch: numbers of epochs finished (E,), from 0; the last may be unfinished.
        step: numbers of optimiser steps taken (E,).
        loss: cross-entropy in nats (E,).
        accuracy: fraction of examples classified right (E,).
    """

    epoch: np.ndarray
    step: np.ndarray
    loss: np.ndarray
    accuracy: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedRun:
    """A trained network with everything that is known of how it came about.

    Attributes:
        recipe: the settings.
        seed: of initialisation, order of examples and every other draw of the run.
        model: ``{"name": …, "arguments": {…}}``, a key of `landscape.models.MODELS` or ``module:factory``.
        weights: state dict after training.
        init: state dict before training.
        history: loss and accuracy at the end of every epoch.
        steps: optimiser steps taken, the last of which counts as one though it may be shortened.
        reached: whether the recipe's target loss and accuracy hold at the end.
        last_step: fraction of the last optimiser step that was taken, chosen to end at the target loss; 1 if unchanged.
        train_loss: cross-entropy on `data` at the end, in nats.
        train_accuracy: accuracy on `data` at the end.
        test_loss: cross-entropy on `test`.
        test_accuracy: accuracy on `test`.
        data: the training examples really used, with changed labels.
        test: inputs and labels that were not trained on.
        split: name, arguments and fingerprint of the split they come from.
        seconds: wall-clock time; not stored, so that the same run gives the same files.
    """

    recipe: Recipe
    seed: int
    model: Mapping[str, Any]
    weights: StateDict
    init: StateDict
    history: History
    steps: int
    reached: bool
    last_step: float
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    data: TrainingSet
    test: Pair
    split: Mapping[str, Any]
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """Recipe and seed, e.g. ``sgd-0``; the stem of the files."""
        return f"{self.recipe.name}-{self.seed}"

    @property
    def overshoot(self) -> float:
        """Training loss at the end relative to the target, minus one: 0 is exact, negative is below."""
        return self.train_loss / self.recipe.target - 1

    @property
    def measures(self) -> dict[str, float]:
        """What stands beside a run's scores in a table: fit, test error, length of training."""
        return {
            "train/loss": self.train_loss,
            "train/accuracy": self.train_accuracy,
            "test/loss": self.test_loss,
            "test/accuracy": self.test_accuracy,
            "test/error": 1 - self.test_accuracy,
            "epoch": float(self.history.epoch[-1]),
            "step": float(self.steps),
            "reached": float(self.reached),
        }

    def network(self, factory: ModelFactory | None = None) -> nn.Module:
        """Build the network with its trained weights, in evaluation mode.

        Args:
            factory: what the run was trained with; needed only if it is not one of `landscape.models`.

        Raises:
            LandscapeError: the network is not one of the package's and no factory was given.
        """
        module = _build(self.model, self.seed, factory)
        module.load_state_dict(dict(self.weights))
        return module.eval()


def describe_model(factory: ModelFactory) -> dict[str, Any]:
    """Name a factory and the arguments bound to it by `functools.partial`, in values that JSON can hold.

    >>> from landscape.models import mlp
    >>> describe_model(partial(mlp, (64, 32, 10)))
    {'name': 'mlp', 'arguments': {'sizes': [64, 32, 10]}}
    """
    function, args, keywords = factory, (), {}
    if isinstance(factory, partial):
        function, args, keywords = factory.func, factory.args, factory.keywords
    names = [name for name, known in MODELS.items() if known is function]
    name = names[0] if names else f"{function.__module__}:{getattr(function, '__qualname__', type(function).__name__)}"
    try:
        arguments = inspect.signature(function).bind_partial(*args, **keywords).arguments
        return {"name": name, "arguments": json.loads(json.dumps(arguments))}
    except TypeError as error:
        raise LandscapeError(
            f"arguments of {name} cannot be recorded ({error}); use numbers, text and lists"
        ) from error


def _build(model: Mapping[str, Any], seed: int, factory: ModelFactory | None) -> nn.Module:
    if factory is not None:
        return factory(seed=seed)
    if model["name"] not in MODELS:
        raise LandscapeError(
            f"model {model['name']!r} is not one of {', '.join(MODELS)}, and a file never names code to run; "
            "pass the factory it was trained with"
        )
    return MODELS[model["name"]](**model["arguments"], seed=seed)


def check_run(run: Any) -> None:
    """Check that a trained run is one.

    Raises:
        LandscapeError: it is something else, such as a path or the runs of a recipe.
    """
    if not isinstance(run, TrainedRun):
        raise LandscapeError(f"run is a {type(run).__name__}; expected one of train, or load_run(path)")


def save_run(run: TrainedRun, folder: str | os.PathLike[str], *, init: bool = True) -> Path:
    """Write ``NAME.safetensors`` and, last, the manifest ``NAME.json``; each file appears complete or not at all.

    The same run gives the same bytes: no dates, no times, no folders.

    Args:
        run: what to keep.
        folder: made if it does not exist.
        init: also write the initial weights, as ``NAME.init.safetensors``; without them, `load_run` makes them again
            from the model's name and the seed.

    Returns:
        The path of the manifest.

    Raises:
        LandscapeError: no run, or the folder cannot be written.
    """
    check_run(run)
    folder = Path(folder)
    contents = {f"{run.name}.safetensors": safetensors.torch.save(dict(run.weights))}
    if init:
        contents[f"{run.name}.init.safetensors"] = safetensors.torch.save(dict(run.init))
    files = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    contents[f"{run.name}.json"] = _manifest(run, files).encode()
    for name, content in contents.items():
        with replacing(folder / name) as fresh:
            fresh.write_bytes(content)
    return folder / f"{run.name}.json"


def _manifest(run: TrainedRun, files: Mapping[str, str]) -> str:
    """One line per top-level key, so that a person can read it and a diff shows what changed."""
    entries = {
        "format": FORMAT,
        "recipe": dataclasses.asdict(run.recipe),
        "seed": run.seed,
        "model": run.model,
        "parameters": sum(tensor.numel() for tensor in run.weights.values()),
        **{name: getattr(run, name) for name in _SCALARS},
        "overshoot": run.overshoot,
        "data": {**run.split, "training_fingerprint": run.data.fingerprint, "changed_labels": len(run.data.changed)},
        "files": files,
        "init_fingerprint": _state_fingerprint(run.init),
        "versions": {"landscape": __version__, "torch": torch.__version__, "numpy": version("numpy")},
        "history": {name: values.tolist() for name, values in vars(run.history).items()},
    }
    lines = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in entries.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _state_fingerprint(state: StateDict) -> str:
    """Hash tensors by name, because a safetensors file keeps an order of its own."""
    return fingerprint(*(state[name] for name in sorted(state)))


def load_run(
    path: str | os.PathLike[str], *, split: Split | None = None, factory: ModelFactory | None = None
) -> TrainedRun:
    """Read a run back, make its training set again and check every hash; no code is run from the files.

    Args:
        path: the manifest.
        split: the data it was trained on; None makes the embedded digits again from the manifest.
        factory: the model factory, if initial weights were not kept and the network is not one of `landscape.models`.

    Returns:
        The run as it was saved, but for `seconds`.

    Raises:
        LandscapeError: a file is missing, altered or not what it should be, or the data are not those trained on.
    """
    path = Path(path)
    manifest = read_manifest(path)
    try:
        recipe, seed, model, data = Recipe(**manifest["recipe"]), manifest["seed"], manifest["model"], manifest["data"]
        split = split or _remade(path.name, data)
        if split.fingerprint != data["fingerprint"]:
            raise LandscapeError(
                f"{path.name}: trained on another split than {split!r}; pass the one it was trained on"
            )
        used = training_set(recipe, split, seed=seed)
        if used.fingerprint != data["training_fingerprint"]:
            raise LandscapeError(f"{path.name}: its training labels cannot be drawn again with this NumPy; retrain it")
        stored = {name: _read_weights(path.parent / name, digest) for name, digest in manifest["files"].items()}
        if factory is None:
            _check_shapes(path.name, model, stored[f"{path.stem}.safetensors"])
        init = stored.get(f"{path.stem}.init.safetensors") or _build(model, seed, factory).state_dict()
        if _state_fingerprint(init) != manifest["init_fingerprint"]:
            raise LandscapeError(f"{path.name}: the initial weights are not those trained from; retrain with init=True")
        return TrainedRun(
            recipe=recipe,
            seed=seed,
            model=model,
            weights=stored[f"{path.stem}.safetensors"],
            init=init,
            history=History(**{name: np.array(values) for name, values in manifest["history"].items()}),
            data=used,
            test=heldout_set(recipe, split, seed=seed),
            split={name: data[name] for name in ("name", "arguments", "fingerprint")},
            **{name: manifest[name] for name in _SCALARS},
        )
    except LandscapeError:
        raise
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RuntimeError, AssertionError) as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise LandscapeError(f"{path.name}: the manifest lacks or misnames {text}; expected one of save_run") from error


class _ShapesOnly(TorchFunctionMode):
    """Makes new tensors on the meta device, also within a block that says where they are to be made."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        return function(*args, **(kwargs | {"device": "meta"} if "device" in kwargs else kwargs))


def _check_shapes(name: str, model: Mapping[str, Any], weights: StateDict) -> None:
    """Build the network without its numbers first: a manifest of 3 kB may ask for more than there is memory."""
    sizes: list[int] = []
    json.loads(json.dumps(model["arguments"]), parse_int=lambda text: sizes.append(int(text)))
    shapes = {}
    if max(sizes, default=0) <= sum(tensor.numel() for tensor in weights.values()):  # no width or depth without weights
        with _ShapesOnly():
            shapes = {key: tensor.shape for key, tensor in _build(model, 0, None).state_dict().items()}
    if shapes != {key: tensor.shape for key, tensor in weights.items()}:
        raise LandscapeError(
            f"{name}: its weights are not those of the {model['name']} that it describes; restore the files"
        )


def read_manifest(path: Path) -> dict[str, Any]:
    """Read and recognise a manifest, without the files it names.

    Raises:
        LandscapeError: no such file, or it is not a manifest.
    """
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise LandscapeError(f"{path.name}: cannot be read as a manifest; expected NAME.json of save_run") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise LandscapeError(f"{path.name}: is not a manifest of save_run; expected one with format {FORMAT!r}")
    return manifest


def _remade(name: str, data: Mapping[str, Any]) -> Split:
    if data["name"] != "digits":
        raise LandscapeError(f"{name}: trained on {data['name']!r}, which is not in the package; pass split=")
    return digits(**data["arguments"])


def _read_weights(path: Path, digest: str) -> StateDict:
    try:
        content = ordinary(path).read_bytes()
    except (OSError, ValueError) as error:
        raise LandscapeError(f"{path.name}: cannot be read; expected it beside its manifest") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise LandscapeError(f"{path.name}: differs from what its manifest says; restore the file or retrain")
    return safetensors.torch.load(content)


def as_checkpoint(run: TrainedRun, factory: ModelFactory | None = None) -> Checkpoint:
    """Return a trained run as a `Checkpoint`: its network, cross-entropy, the examples it was really trained on.

    Args:
        run: what `train` returned.
        factory: what it was trained with; needed only if the network is not one of `landscape.models`.

    Raises:
        LandscapeError: no run, or the network is not one of the package's and no factory was given.

    >>> from landscape.datasets import digits
    >>> from landscape.experiments import get_recipe, train
    >>> as_checkpoint(train(get_recipe("sgd", examples=20, target=1.0), digits(train=100), seed=0))
    Checkpoint(sgd-0: P=..., optimizer=sgd, lr=0.05, momentum=0.0, batch_size=64, step=...)
    """
    check_run(run)
    return Checkpoint(
        run.network(factory),
        loss="cross_entropy",
        train=(run.data.X, run.data.y),
        test=run.test,
        init=run.init,
        optimizer=run.recipe.optimiser,
        lr=run.recipe.lr,
        momentum=run.recipe.momentum,
        batch_size=run.recipe.batch_size,
        step=run.steps,
        name=run.name,
    )


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint that `landscape train` wrote, named by its manifest or by its weights.

    Raises:
        LandscapeError: there is no manifest beside the weights, or a file was altered.
    """
    return as_checkpoint(load_run(Path(path).with_suffix(".json")))
