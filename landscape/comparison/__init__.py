"""Many checkpoints → one table, gates, statistics and a verdict in words that claim geometry only."""

from landscape.comparison.compare import compare, slugify
from landscape.comparison.decide import PRIMARY, compare_scores, decide
from landscape.comparison.gates import GATES, Facts, check, facts
from landscape.comparison.judge import judge
from landscape.comparison.placebo import placebo

__all__ = [
    "GATES",
    "PRIMARY",
    "Facts",
    "check",
    "compare",
    "compare_scores",
    "decide",
    "facts",
    "judge",
    "placebo",
    "slugify",
]
