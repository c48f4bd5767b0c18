"""The choice of a program by the clock: for who asks for it, since a timed choice may change digits from run to run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median

import torch

from landscape.function.batches import Batch
from landscape.operators.programs.program import Program

ROUNDS = 5


def fastest(programs: Sequence[Program], batch: Batch) -> tuple[Program, str]:
    """Return the program whose product with one vector takes least time, and the times in words.

    States are built first and not timed: a tuned operator is one that many products will follow. Rounds are interleaved, so
    that drift of the machine cancels.
    """
    v = torch.ones_like(programs[0].theta)[:, None]
    states = [program.build(batch) for program in programs]
    times: list[list[float]] = [[] for _ in programs]
    for turn in range(ROUNDS + 1):
        for program, state, taken in zip(programs, states, times, strict=True):
            begun = time.perf_counter()
            program.multiply(state, batch, v)
            if v.device.type == "cuda":
                torch.cuda.synchronize(v.device)
            if turn:  # the first round warms up
                taken.append(time.perf_counter() - begun)
    medians = [median(taken) for taken in times]
    best = min(range(len(programs)), key=medians.__getitem__)
    words = ", ".join(f"{p.label} {1e3 * t:.3g} ms" for p, t in zip(programs, medians, strict=True))
    return programs[best], f"fastest of {words} a batch"
