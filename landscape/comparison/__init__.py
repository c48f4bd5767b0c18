"""Many checkpoints → one table, gates, statistics and a verdict in words that claim geometry only."""

from landscape.comparison.compare import compare
from landscape.comparison.decide import compare_scores, decide
from landscape.comparison.evidence import evidence
from landscape.comparison.gates import GATES, Facts, check, facts
from landscape.comparison.judge import judge
from landscape.comparison.placebo import placebo
from landscape.scores.register import primary
from landscape.store.names import slugify

PRIMARY = primary()
"""The scores that a verdict is decided on, as the register of scores declares them."""

__all__ = [
    "GATES",
    "PRIMARY",
    "Facts",
    "check",
    "compare",
    "compare_scores",
    "decide",
    "evidence",
    "facts",
    "judge",
    "placebo",
    "slugify",
]
