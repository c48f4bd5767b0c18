"""The split program with its tangent part through the compiler."""

from __future__ import annotations

import time
import warnings
from typing import Any

import torch
from torch import Tensor

from landscape.graphs import Split as Traced
from landscape.graphs import TraceError
from landscape.operators.programs.split import Second, Split


class Compiled(Split):
    """Inductor fuses the elementwise operations of the tangent part; on CUDA, fixed shapes replay as CUDA graphs.

    Compiled code is compared once with the plain part, on another batch and at a moved theta; where it differs or cannot be
    built, the plain part is used, with one warning.
    """

    compiled = True
    compile_seconds = 0.0

    def second(self, program: Traced, fixed: tuple[Tensor, ...], v: Tensor) -> Second:
        """Compile the part that runs for each vector, and compare it with the plain one."""
        begun = time.perf_counter()
        mode = "reduce-overhead" if v.device.type == "cuda" else "default"
        try:
            run = torch.compile(program.second_part, dynamic=False, fullgraph=True, mode=mode)

            def second(kept: Any, at: Any, moving: Any) -> Tensor:
                # the guard runs the user's compiled modules eagerly; CUDA graphs overwrite their output at the next call
                with torch.no_grad(), torch.compiler.set_stance("default"):
                    return run(*kept, *at, *moving).clone()

            kept = program.first(fixed)
            found, expected = second(kept, fixed, (v,)).double(), program.second(kept, fixed, (v,)).double()
            limit = 100 * torch.finfo(v.dtype).eps ** 0.75 * float(expected.norm())
            if not float((found - expected).norm()) <= max(limit, torch.finfo(v.dtype).tiny):
                raise TraceError("the compiled product differs from the plain one")
        except Exception as error:  # the compiler raises whatever its back end met
            first = (str(error).strip().splitlines() or ["no message"])[0]
            warnings.warn(f"the product is not compiled ({type(error).__name__}: {first[:200]})", stacklevel=2)
            self.compiled = False
            return program.second
        self.compile_seconds += time.perf_counter() - begun
        return second
