import pytest

from landscape.comparison.families import agreement, in_words
from landscape.results.comparison import Test as Row


def row(score, difference, spread=0.1, *, primary=False, scale="log10"):
    low, high = difference - spread, difference + spread
    return Row("a", "b", score, primary, scale, difference, low, high, 0.01, None, 1.0, False, True, 8, 8)


@pytest.mark.parametrize(
    ("rows", "verdict", "expected"),
    [
        ([row("trace", 0.5), row("lambda-max", 0.4)], "spikier", {"curvature": "agrees"}),
        ([row("trace", 0.5), row("lambda-max", 0.4)], "flatter", {"curvature": "disagrees"}),
        ([row("trace", 0.5), row("lambda-max", -0.4)], "spikier", {"curvature": "divided"}),
        ([row("trace", 0.5), row("lambda-max", 0.05)], "spikier", {"curvature": "agrees"}),
        ([row("trace", 0.05)], "spikier", {"curvature": "undecided"}),
        ([row("trace", 0.04, 0.001)], "tie", {"curvature": "agrees"}),
        ([row("trace", 0.5)], "tie", {"curvature": "disagrees"}),
        ([row("pruned", -0.5)], "spikier", {"compressibility": "agrees"}),  # fewer weights can go: sharper
        ([row("log-volume", 3.0, 0.5, scale="raw")], "spikier", {"volume": "agrees"}),
        ([row("trace", 0.5, float("nan"))], "spikier", {"curvature": "agrees"}),  # one seed has no interval
        ([row("margin", 0.5), row("adaptive-average", 0.5, primary=True)], "spikier", {}),
        ([row("trace", 0.5)], "inconclusive", {}),
    ],
)
def test_families_by_the_signs_of_their_scores(rows, verdict, expected):
    assert agreement(rows, verdict, margin=0.05) == expected


def test_in_words():
    found = {"curvature": "agrees", "noise": "disagrees", "slice": "undecided", "volume": "undecided"}
    assert in_words(found).endswith("curvature agrees; noise disagrees; slice and volume are undecided.")
    assert in_words({}) == ""
