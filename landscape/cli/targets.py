"""How a command names what it works on: a checkpoint of ours by its path, or the user's own network and data by import."""

from __future__ import annotations

import argparse
import inspect
import os
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

from landscape.errors import LandscapeError


def add_target(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name checkpoints."""
    parser.add_argument("checkpoint", nargs="+", help="checkpoint of `landscape train`, or weights that fit --model")
    add_own(parser)


def add_own(parser: argparse.ArgumentParser, arms: bool = False) -> None:
    """Add the options that say what weights belong to; arms of a comparison may have data of their own."""
    own = parser.add_argument_group("your own network (instead of a manifest beside the weights)")
    own.add_argument("--model", metavar="MODULE:FACTORY", help="a function that returns the torch.nn.Module")
    data = "a function that returns the training data, or a pair (train, test)"
    if arms:
        data += "; ARM=MODULE:LOADER is that of one arm alone"
        own.add_argument("--data", metavar="MODULE:LOADER", nargs="+", action="extend", help=data)
    else:
        own.add_argument("--data", metavar="MODULE:LOADER", help=data)
    own.add_argument("--loss", default="cross_entropy", help="a name in torch.nn.functional, or MODULE:FUNCTION")
    own.add_argument("--key", help="the entry to read where a file holds several state dicts, such as state_dict_ema")
    own.add_argument("--prefix", help="what comes before the network's names where several parts fit, such as student.")
    own.add_argument(
        "--batch-size",
        type=positive,
        metavar="N",
        help="examples per step in training; networks with batch norm are then measured on batches of it",
    )
    own.add_argument(
        "--init",
        metavar="FILE",
        help="the weights before training, {} standing for the checkpoint without its ending, such as '{}-init.pt'; "
        "runs from the same ones are compared as pairs",
    )
    own.add_argument("--parameters", metavar="PATTERN", nargs="+", help="only parameters whose names match")
    own.add_argument("--device", help="cpu, cuda, cuda:1 … (default: cuda when there is one)")
    own.add_argument("--dtype", choices=["float32", "float64"], help="compute in this precision")


def import_object(reference: str) -> Any:
    """Import ``package.module:name``, looking in the working directory too."""
    module_name, _, attribute = reference.partition(":")
    if not module_name or not attribute:
        raise LandscapeError(f"{reference!r} does not name an object; expected package.module:name")
    if not all(part.isidentifier() for part in module_name.split(".")) or module_name.endswith(".py"):
        name = Path(module_name).stem.lstrip(".") or "module"
        raise LandscapeError(
            f"{module_name!r} is a path, expected the name of a module: run in its folder and write {name}:{attribute}"
        )
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise  # the user's module lacks something: the traceback should show where
        raise LandscapeError(
            f"there is no module {module_name!r}; run from the folder that holds it, or install it"
        ) from None
    for part in attribute.split("."):
        if not hasattr(found, part):
            close = get_close_matches(part, [name for name in vars(found) if not name.startswith("_")], n=3)
            known = f"did you mean {' or '.join(close)}?" if close else "expected a name that it defines"
            raise LandscapeError(f"{module_name} has no {attribute!r}; {known}")
        found = getattr(found, part)
    return found


def data_of_arms(named: Sequence[str] | None, arms: Sequence[str]) -> dict[str, str | None]:
    """Return which loader each arm has: ``ARM=MODULE:LOADER``, or the one that names no arm."""
    given: dict[str, str] = {}
    for item in named or []:
        arm, _, loader = item.rpartition("=")
        if arm and arm not in arms:
            raise LandscapeError(f"--data {item}: there is no arm {arm!r}; expected one of {', '.join(arms)}")
        if arm in given:
            raise LandscapeError(
                f"--data names two loaders of {repr(arm) if arm else 'all arms'}; expected one, or ARM=MODULE:LOADER"
            )
        given[arm] = loader
    if given and (without := [arm for arm in arms if arm not in given and "" not in given]):
        raise LandscapeError(f"--data names no loader of {', '.join(without)}; add --data MODULE:LOADER for the others")
    return {arm: given.get(arm, given.get("")) for arm in arms}


def load(arguments: argparse.Namespace, path: str) -> Any:
    """Return the `Checkpoint` a path names: one of ours by its manifest, or weights that fit --model."""
    if not Path(path).exists():
        raise LandscapeError(f"there is no file {Path(path).name!r}; expected a checkpoint")
    if arguments.model is None:
        return _ours(arguments, path)
    if arguments.data is None:
        raise LandscapeError("--model needs --data MODULE:LOADER: curvature is curvature of a loss on data")
    from torch import nn

    from landscape.function.checkpoint import Checkpoint

    train, test = _pair(_called("--data", arguments.data))
    loss = import_object(arguments.loss) if ":" in arguments.loss else arguments.loss
    model = _called("--model", arguments.model)
    if not isinstance(model, nn.Module):
        raise LandscapeError(
            f"--model {arguments.model} returned {type(model).__name__}, expected a function that returns a torch.nn.Module"
        )
    if test is None and getattr(arguments, "on", "train") == "test":
        raise LandscapeError(f"--on test: {arguments.data} returned training data only; let it return (train, test)")
    return Checkpoint(
        model, path, loss=loss, train=train, test=test, name=Path(path).stem,
        key=arguments.key, prefix=arguments.prefix, parameters=arguments.parameters, batch_size=arguments.batch_size,
        init=arguments.init and arguments.init.replace("{}", str(Path(path).with_suffix(""))), **placement(arguments),
    )  # fmt: skip


def _called(flag: str, name: str) -> Any:
    """Return what a user's function gives when it is called without arguments."""
    function = import_object(name)
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise LandscapeError(
            f"{flag} {name} cannot be called without arguments ({error}); name a function that needs none"
        ) from None
    except ValueError:
        pass  # built in, without a signature
    return function()


def _ours(arguments: argparse.Namespace, path: str) -> Any:
    from landscape.experiments import load_checkpoint

    if not Path(path).with_suffix(".json").exists():
        raise LandscapeError(
            f"{Path(path).name} has no manifest {Path(path).stem}.json beside it; name its network and data with "
            "--model MODULE:FACTORY and --data MODULE:LOADER"
        )
    checkpoint = load_checkpoint(path)
    checkpoint.options.update(parameters=arguments.parameters, **placement(arguments))
    return checkpoint


def placement(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the device and dtype asked for, and under torchrun the group of processes."""
    import torch

    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    together = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if together and device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise LandscapeError(
            f"there is no device {device!r} here; expected cpu, or cuda on a machine with one"
        ) from None
    if together and not torch.distributed.is_initialized():
        if device.startswith("cuda"):
            torch.cuda.set_device(device)
        torch.distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    dtype = getattr(torch, arguments.dtype) if arguments.dtype else None
    return {"device": device, "dtype": dtype, **({"group": True} if together else {})}


def _pair(data: Any) -> tuple[Any, Any]:
    """Tell (train, test) from training data alone: a pair that ends with a tensor or an array is one data set."""
    if isinstance(data, Mapping) and "train" in data:
        return data["train"], data.get("test")
    if isinstance(data, tuple) and len(data) == 2 and not hasattr(data[1], "shape"):
        return data[0], data[1]
    return data, None


def positive(text: str) -> int:
    """Return the whole number, at least 1, that a word of the command line is."""
    return whole(text, 1, "at least 1")


def whole(text: str, least: int, expected: str) -> int:
    """Return the whole number that a word of the command line is, or say what was expected."""
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a whole number of {expected}") from None
    if value < least:
        raise argparse.ArgumentTypeError(f"{value}, expected {expected}")
    return value
