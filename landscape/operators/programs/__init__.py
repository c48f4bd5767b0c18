"""How a product is computed: a kept graph, a traced and split program, or from scratch, one batch at a time."""

from landscape.operators.programs.batch_sum import BatchSum
from landscape.operators.programs.plan import Plan

__all__ = ["BatchSum", "Plan"]
