"""What users pass, checked: whole numbers where they count, numbers where they measure, seeds that repeat a run, devices."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch

from landscape.errors import LandscapeError, name_users_line

P = ParamSpec("P")
R = TypeVar("R")
_EXPECTED: dict[str, tuple[type | tuple[type, ...], str]] = {
    "int": (Integral, "a whole number"),
    "float": (Real, "a number"),
    "bool": ((bool, np.bool_), "True or False"),
}


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function with its numbers checked before it runs, by its annotations.

    An argument annotated ``int`` must be a whole number, ``float`` a number, ``bool`` a truth value, ``| None`` allows that
    too, and one called ``seed`` must be one of at least 0: `None` would draw another sample every time. One annotated
    ``Objective`` must be one. The function is `settled`.

    Raises:
        LandscapeError: at the call; the message names the argument.

    >>> @checked
    ... def repeat(text: str, times: int) -> str:
    ...     return times * text
    >>> repeat("a", 2)
    'aa'
    >>> repeat("a", 2.5)
    Traceback (most recent call last):
    ...
    landscape.errors.LandscapeError: times=2.5 is float, expected a whole number
    """
    signature = inspect.signature(function)
    kinds = {name: str(parameter.annotation) for name, parameter in signature.parameters.items()}
    objectives = {name for name, kind in kinds.items() if kind.strip("'").removesuffix(" | None") == "Objective"}
    called = function.__qualname__.removesuffix(".__init__").lstrip("_")

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            given: Mapping[str, Any] = signature.bind_partial(*args, **kwargs).arguments
        except TypeError:
            given = {}  # the call below raises Python's own message, which names the function
        check_numbers(kinds, given)
        for name in given.keys() & objectives:
            if given[name] is not None or not kinds[name].endswith("None"):
                expect_objective(given[name], called)
        try:
            with settled():
                return function(*args, **kwargs)
        except Exception as error:
            name_users_line(error)
            raise

    return wrapper


def expect_objective(value: Any, what: str) -> None:
    """Raise unless an argument is an objective.

    Args:
        value: what the user passed.
        what: the function called, or what is made of it, for the message.

    Raises:
        LandscapeError: it is something else; the message says how to make an objective of a model or a checkpoint.

    >>> expect_objective([1, 2], "sharpness")
    Traceback (most recent call last):
        ...
    landscape.errors.LandscapeError: sharpness got a list, expected an Objective: pass ls.Objective(model, data, loss)
    """
    if "Objective" not in {kind.__name__ for kind in type(value).__mro__}:
        made = getattr(value, "objective", None)
        remedy = "its .objective" if made is not None else "ls.Objective(model, data, loss)"
        remedy = 'checkpoint.objective("train")' if callable(made) and not hasattr(made, "theta") else remedy
        raise LandscapeError(f"{what} got a {type(value).__name__}, expected an Objective: pass {remedy}")


DEVICE_CHOSEN: ContextVar[bool] = ContextVar("DEVICE_CHOSEN", default=False)
"""Whether the caller has a default device that is not the CPU; networks are then run with their own as the default."""


@contextmanager
def settled() -> Iterator[None]:
    """Run a block without the autocast around it, and with tensors on the CPU unless they say otherwise."""
    with ExitStack() as stack:
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.callback(DEVICE_CHOSEN.reset, DEVICE_CHOSEN.set(True))
            stack.enter_context(torch.device("cpu"))
        yield


def check_numbers(kinds: Mapping[str, str], given: Mapping[str, Any]) -> None:
    """Check arguments against their annotations as `checked` does.

    Args:
        kinds: annotation by name.
        given: value by name.

    Raises:
        LandscapeError: a number is none, or not whole; a truth value is none; a seed is negative.
    """
    for name, value in given.items():
        kind = kinds.get(name, "").strip("'")
        if value is None and kind.endswith(" | None"):
            continue
        expected = _EXPECTED.get(kind.removesuffix(" | None"))
        if expected is None:
            continue
        if not isinstance(value, expected[0]):
            raise LandscapeError(f"{name}={value!r} is {type(value).__name__}, expected {expected[1]}")
        if name == "seed" and not 0 <= value < 2**63:  # type: ignore[operator]
            raise LandscapeError(f"seed={value}, expected a whole number from 0 on")


def keyword_options(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the keyword-only parameters of a function by name."""
    parameters = inspect.signature(function).parameters.values()
    return {option.name: option for option in parameters if option.kind is option.KEYWORD_ONLY}


def several(values: Any, name: str, kind: str = "int") -> list[Any]:
    """Return several numbers as a list.

    Args:
        values: a sequence, an array, a range, ….
        name: what they are called, for messages.
        kind: what each must be: ``int`` or ``float``.

    Raises:
        LandscapeError: not several values, or values that are no numbers of the kind.

    >>> several(range(3), "widths")
    [0, 1, 2]
    >>> several(3, "widths")
    Traceback (most recent call last):
    ...
    landscape.errors.LandscapeError: widths=3 is int, expected several numbers: [3]
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise LandscapeError(f"{name}={values!r} is {type(values).__name__}, expected several numbers: [{values!r}]")
    found = list(values)
    for value in found:
        check_numbers({name: kind}, {name: value})
    return [value.item() if hasattr(value, "item") else value for value in found]


def several_seeds(seeds: Any) -> list[int]:
    """Return the seeds of several runs as a list, checked to be different whole numbers of at least 0.

    Raises:
        LandscapeError: anything else; the same seed twice would count one run as two.

    >>> several_seeds(range(3))
    [0, 1, 2]
    """
    if isinstance(seeds, int):
        raise LandscapeError(f"seeds={seeds} is a single number, expected several: range({seeds}) or [{seeds}]")
    found: list[int] = several(seeds, "seeds")
    for seed in found:
        check_numbers({"seed": "int"}, {"seed": seed})
    if len(set(found)) < len(found):
        raise LandscapeError(f"seeds {found} repeat; expected different ones, since each is one run")
    return found


def seeded_generator(seed: int) -> torch.Generator:
    """Return a generator of its own on the CPU, so that the global random state stays and every device sees one sample.

    Raises:
        LandscapeError: the seed is no whole number of at least 0.
    """
    check_numbers({"seed": "int"}, {"seed": seed})
    return torch.Generator().manual_seed(int(seed))


def device_named(device: torch.device | str) -> torch.device:
    """Return a device.

    Raises:
        LandscapeError: PyTorch knows none of that name, this machine has none, or it has no float64.

    >>> device_named("cpu")
    device(type='cpu')
    """
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError):
        raise LandscapeError(f"there is no device {device!r}; expected 'cpu', 'cuda' or 'cuda:0'") from None
    if found.type == "meta":
        raise LandscapeError("the device 'meta' holds no numbers; use 'cpu' or 'cuda'")
    if found.type == "mps":
        raise LandscapeError("sums over batches are taken in float64, which 'mps' does not have; pass device='cpu'")
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise LandscapeError(
            f"there is no device {device!r}: PyTorch finds {torch.cuda.device_count()} GPUs; use 'cpu'"
        )
    return found
