"""Kinds of networks, losses, data and files that people ask about in public, each against plain double backward.

Run ``python benchmarks/kinds.py``; the table goes to ``benchmarks/results/kinds.md``. A case, see ``benchmarks/threads/``, is
what a thread describes, made small: a network, data and loss as that person has them, and the same loss of all the data,
written plainly. The oracle is the dense Hessian by two plain backward passes in float64, which does not use the package. Every
program is asked for the whole matrix; a row says the largest error relative to the largest entry, or the one line with which
it was refused.
"""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ.setdefault("LANDSCAPE_PROGRESS", "0")

import torch
from threads import KINDS, Case
from torch import Tensor

import landscape as ls

for theme in ("data", "losses", "layers", "functions", "networks"):
    import_module(f"threads.{theme}")  # enters its cases

RESULTS = Path(__file__).parent / "results"
PROGRAMS: tuple[str | None, ...] = (None, "kept", "split", "recompute")


def hessian(case: Case) -> Tensor:
    """Return the dense Hessian by plain double backward, as θ lies: real and imaginary parts side by side."""
    network = case.model
    parameters = [p for p in network.parameters() if p.requires_grad]

    def flat(tensors: Any) -> Tensor:
        parts = [torch.zeros_like(p) if t is None else t for t, p in zip(tensors, parameters)]
        return torch.cat([(torch.stack([t.real, t.imag], -1) if t.is_complex() else t).flatten() for t in parts])

    value = case.plain(network)
    gradient = flat(torch.autograd.grad(value, parameters, create_graph=True, allow_unused=True))
    found = [
        torch.autograd.grad(g, parameters, retain_graph=True, allow_unused=True)
        if g.requires_grad
        else [None] * len(parameters)
        for g in gradient
    ]
    return torch.stack([flat(row) for row in found])


def refusal(error: Exception) -> str:
    """Return the first line of an error, and whether it is one of the package's own."""
    kind = "refused" if isinstance(error, ls.LandscapeError) else f"RAISED {type(error).__name__}"
    return f"{kind}: {str(error).splitlines()[0]}"


def tried(make: Callable[[], Case]) -> Iterator[str]:
    """Yield what each program gave: an error relative to the oracle's largest entry, or how it was refused."""
    torch.manual_seed(0)
    case = make()
    case = case._replace(model=case.model.double())
    try:
        objective = ls.Objective(case.model, case.data, case.loss, **case.options)
    except Exception as error:
        yield refusal(error)
        return
    H: Tensor | None = None
    for program in PROGRAMS:
        try:
            found = ls.Hessian(objective, **({} if program is None else {"program": program})).dense()
        except Exception as error:
            yield refusal(error)
            continue
        if H is None:  # only now: some data are drawn as they are first read
            with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
                H = hessian(case)
        off = float((found - H).abs().max() / H.abs().max().clamp_min(1e-300))
        yield f"{'' if off < 1e-8 else 'WRONG '}{off:.1e}"


def outcome(make: Callable[[], Case]) -> str:
    """Return what came out in one cell: the worst error of all programs, or why the first was refused."""
    try:
        found = list(tried(make))
    except AttributeError as error:  # of an earlier version
        return f"RAISED {type(error).__name__}: {error}"
    values = [text for text in found if text[:1].isdigit() or text.startswith("WRONG")]
    bad = [text for text in found if text.startswith(("WRONG", "RAISED"))]
    if bad:
        return bad[0]
    if not values:
        return found[0]
    if found[0] not in values:
        return found[0]
    without = [str(p) for p, text in zip(PROGRAMS, found) if text not in values]
    return f"{max(map(float, values)):.0e}" + (f" ({', '.join(without)} refused)" if without else "")


def main() -> None:
    """Try every kind and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="")
    parser.add_argument("--before", type=Path, help="outcomes of an earlier version, as --out of its run wrote them")
    parser.add_argument("--out", type=Path, help="write one outcome per line here instead of the table")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_default_dtype(torch.float64)
    earlier = dict(line.split("\t") for line in arguments.before.read_text().splitlines()) if arguments.before else {}
    lines, found = [], {}
    for name, (source, make) in KINDS.items():
        if arguments.only not in name:
            continue
        found[name] = outcome(make)
        print(name, "|", found[name], flush=True)
        before = f" {earlier.get(name, '–')} |" if earlier else ""
        lines.append(f"| {name} | {source} |{before} {found[name]} |")
    if arguments.out:
        arguments.out.write_text("".join(f"{name}\t{text}\n" for name, text in found.items()))
    elif not arguments.only:
        print(len(found), "kinds")
        (RESULTS / "kinds.md").write_text(table(lines, bool(earlier)))


def table(lines: list[str], earlier: bool) -> str:
    """Return the page."""
    head = "# Kinds of networks, losses, data and files from public threads\n\n`python benchmarks/kinds.py`"
    about = (
        "The largest error of the dense Hessian by any program relative to its largest entry, against two plain backward passes "
        "in float64; or the line with which the kind was refused. Before: the version before data were taken as they are; what "
        "it calls an unexpected keyword it did not have."
    )
    columns = ["kind", "thread", *(["before"] if earlier else []), "now"]
    return "\n".join([f"{head}: {about}", "", "|".join(["", *columns, ""]), "|---" * len(columns) + "|", *lines, ""])


if __name__ == "__main__":
    main()
