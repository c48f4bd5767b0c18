"""Statistics for comparing scores: tests between two arms of seeds, and evidence over many models.

Which to use. Two recipes, several seeds each: `permutation_test` (or `sign_flip_test` when the arms share
initialisations), `holm` over the scores tested, `mean_difference` for the size of the effect, its interval and whether
that leaves or keeps within a margin declared beforehand, and `superiority`. Ordered levels, such as a grid of label noise: one
`trend_test`, never all pairs. Many models over a grid of factors: `kendall` for a first look, `granulated` and
`conditional_information` to take the factors out, `sign_errors` for bad environments, `within_cells` for what the score knows
beyond the factors and a baseline, and `selection_regret` for the price of choosing by it; `landscape.evidence` makes one board
of all of them.

SciPy computes every statistic it has; nothing here draws from the global random state.
"""

from landscape.statistics.agreement import (
    Kendall,
    SignErrors,
    conditional_information,
    granulated,
    hoeffding_weight,
    kendall,
    selection_regret,
    sign_errors,
    tau_b,
)
from landscape.statistics.cells import Cells
from landscape.statistics.contrasts import contrast
from landscape.statistics.intervals import (
    POWER,
    Difference,
    Interval,
    bootstrap_interval,
    detectable,
    mean_difference,
    student_interval,
    superiority,
)
from landscape.statistics.permutation import (
    PermutationTest,
    holm,
    pairs_needed,
    permutation_floor,
    permutation_p_values,
    permutation_test,
    sign_flip_p_values,
    sign_flip_test,
)
from landscape.statistics.trend import Trend, trend_p_values, trend_test
from landscape.statistics.within import Within, within_cells

__all__ = [
    "Cells",
    "Difference",
    "Interval",
    "Kendall",
    "POWER",
    "PermutationTest",
    "SignErrors",
    "Trend",
    "Within",
    "bootstrap_interval",
    "conditional_information",
    "contrast",
    "detectable",
    "granulated",
    "hoeffding_weight",
    "holm",
    "kendall",
    "mean_difference",
    "pairs_needed",
    "permutation_floor",
    "permutation_p_values",
    "permutation_test",
    "selection_regret",
    "sign_errors",
    "sign_flip_p_values",
    "sign_flip_test",
    "student_interval",
    "superiority",
    "tau_b",
    "trend_p_values",
    "trend_test",
    "within_cells",
]
