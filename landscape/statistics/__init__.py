"""Statistics for comparing scores: tests between two arms of seeds, and evidence over many models.

Which to use. Two recipes, several seeds each: `permutation_test` (or `sign_flip_test` when the arms share
initialisations), `holm` over the scores tested, `mean_difference` for the size of the effect, its interval and whether
that leaves or keeps within a margin declared beforehand, and `superiority`. Ordered levels, such as a grid of label noise: one
`trend_test`, never all pairs. Many models over a grid of hyperparameters: `kendall` for a first look,
`granulated_kendall` and `conditional_independence` to take the hyperparameters out, `robust_sign_error` for the worst
environment, `increment` for what the score adds to what was known anyway, and `selection_regret` for the price of
choosing by it.

SciPy computes every statistic it has; nothing here draws from the global random state.
"""

from landscape.statistics.contrasts import contrast
from landscape.statistics.differences import Difference, mean_difference
from landscape.statistics.equivalence import Equivalence, equivalence_test
from landscape.statistics.evidence import evidence
from landscape.statistics.increment import Increment, increment
from landscape.statistics.independence import ConditionalIndependence, conditional_independence
from landscape.statistics.intervals import Interval, bootstrap_interval, student_interval, superiority
from landscape.statistics.kendall import (
    GranulatedKendall,
    Kendall,
    granulated_kendall,
    kendall,
    smallest_significant_tau,
)
from landscape.statistics.multiplicity import holm
from landscape.statistics.permutation import (
    PermutationTest,
    pairs_needed,
    permutation_floor,
    permutation_p_values,
    permutation_test,
    sign_flip_p_values,
    sign_flip_test,
)
from landscape.statistics.power import POWER, detectable
from landscape.statistics.selection import Regret, selection_regret
from landscape.statistics.sign_error import RobustSignError, hoeffding_weight, informative_gap, robust_sign_error
from landscape.statistics.trend import Trend, trend_p_values, trend_test

__all__ = [
    "ConditionalIndependence",
    "Difference",
    "Equivalence",
    "GranulatedKendall",
    "Increment",
    "Interval",
    "Kendall",
    "POWER",
    "PermutationTest",
    "Regret",
    "RobustSignError",
    "Trend",
    "bootstrap_interval",
    "conditional_independence",
    "contrast",
    "detectable",
    "equivalence_test",
    "evidence",
    "granulated_kendall",
    "hoeffding_weight",
    "holm",
    "increment",
    "informative_gap",
    "kendall",
    "mean_difference",
    "pairs_needed",
    "permutation_floor",
    "permutation_p_values",
    "permutation_test",
    "robust_sign_error",
    "selection_regret",
    "sign_flip_p_values",
    "sign_flip_test",
    "smallest_significant_tau",
    "student_interval",
    "superiority",
    "trend_p_values",
    "trend_test",
]
