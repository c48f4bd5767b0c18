"""Make every table and figure of the page ``evidence.md`` from the zoo: ``python docs/make_evidence.py [ZOO.h5]``.

Reads ``data/zoo.h5``, writes ``figures/evidence*.png`` and ``tables/leaderboard.md``, puts tables into the page between their
marks, and keeps the board as ``data/evidence.h5``. A minute on one core.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

import landscape as ls
from landscape.plots.scales import plain_ticks
from landscape.plots.style import DOUBLE, GREY, MARKERS, PALETTE, legend_outside, sheet
from landscape.results import Evidence, Trials
from landscape.scores.register import REGISTRY, primary
from landscape.statistics import Cells
from landscape.tables import format_table

DOCS = Path(__file__).resolve().parent
ZOO = DOCS.parent / "data" / "zoo.h5"
BOARD = DOCS.parent / "data" / "evidence.h5"
STRATA = ("network", "data")
SHORT = {
    "adaptive-worst-symmetric": "worst case",
    "adaptive-average": "average case",
    "inverse-sigma-mag": "1/σ′²",
    "test_error": "test error",
}
FACTORS = (
    ("effective_step", 0.05, 0.5, "η/(1−β): 0.05 → 0.5"),
    ("momentum", 0.0, 0.9, "β: 0 → 0.9 at equal η/(1−β)"),
    ("label_noise", 0.0, 0.2, "20 % labels redrawn"),
    ("label_noise", 0.0, 1.0, "all labels redrawn"),
    ("examples", 1000, 250, "examples: 1,000 → 250"),
)
"""Factor, its two levels, and what it is called."""
WORDS = {
    "effective_step": "η/(1−β)",
    "momentum": "β at equal η/(1−β)",
    "label_noise": "wrong labels",
    "examples": "examples",
}
RESAMPLES = 1_999
SCORE = "adaptive-average"
"""The score of the first figure."""


@dataclass(frozen=True)
class Change:
    """What a change of one factor does to a measure: mean over pairs of cells that differ in it alone, bootstrap interval."""

    mean: float
    low: float
    high: float
    strata: tuple[float, ...]
    pairs: int


def main(path: Path = ZOO) -> None:
    """Make everything."""
    trials = ls.open_study(path)["zoo"]
    scores = [name for name in trials.measures if name in REGISTRY]
    board = ls.evidence(trials, scores=scores)
    board.save(BOARD, "board", overwrite=True)
    reached = trials.take(np.flatnonzero(trials.met))
    changes = {
        (name, label): change(reached, name, factor, a, b)
        for name in (*primary(), "test_error")
        for factor, a, b, label in FACTORS
    }
    with ls.plots.style():
        for drawn, name in ((picture(reached, board, changes), "evidence"), (board.plot(), "evidence-board")):
            place = DOCS / "figures" / f"{name}.png"
            drawn.savefig(place, dpi=220)
            Image.open(place).convert("RGB").quantize(128).save(place, optimize=True)
    (DOCS / "tables" / "leaderboard.md").write_text(leaderboard(board), encoding="utf-8")
    page = DOCS / "evidence.md"
    text = page.read_text(encoding="utf-8")
    tables = {
        "counts": counts(trials),
        "factors": factors(changes),
        "first": first(board),
        "overfitting": overfitting(),
        "axes": axes(board),
    }
    for mark, table in tables.items():
        text = re.sub(
            rf"(<!-- {mark} -->\n).*?(\n<!-- end -->)", lambda m, t=table: f"{m[1]}\n{t}\n{m[2]}", text, flags=re.DOTALL
        )
    page.write_text(text, encoding="utf-8")


def _cells(trials: Trials) -> Cells:
    return Cells.of_design({f: v.tolist() for f, v in trials.factors.items() if f != "seed"}, STRATA)


def change(trials: Trials, name: str, factor: str, a: float, b: float) -> Change:
    """Return what a change of one factor does to a measure, on log10 for scores."""
    cells = _cells(trials)
    values = np.asarray(trials[name], dtype=float)
    means = cells.means(values if name == "test_error" else np.log10(np.where(values > 0, values, np.nan)))[0]
    of = np.unique(cells.of, return_index=True)[1]
    level, axis = np.asarray(trials[factor])[of], cells.axes.index(factor)
    lines: dict[tuple[int, ...], list[int]] = {}
    for cell in np.flatnonzero(np.isfinite(means)):
        lines.setdefault((cells.stratum[cell], *np.delete(cells.codes[cell], axis)), []).append(cell)
    whole = {key: {level[cell]: means[cell] for cell in members} for key, members in lines.items()}
    pairs = {key: line for key, line in whole.items() if a in line and b in line}
    each = np.array([line[b] - line[a] for line in pairs.values()])
    stratum = np.array([key[0] for key in pairs])
    drawn = np.random.default_rng(0).integers(len(each), size=(RESAMPLES, len(each)))
    low, high = np.percentile(each[drawn].mean(axis=1), [2.5, 97.5])
    apart = tuple(float(each[stratum == number].mean()) for number in np.unique(stratum))
    return Change(float(each.mean()), float(low), float(high), apart, len(each))


def factors(changes: dict[tuple[str, str], Change]) -> str:
    """Return the table of what factors do."""
    body = []
    for name in (*primary(), "test_error"):
        row = []
        for *_, label in FACTORS:
            one = changes[name, label]
            same = sum(np.sign(s) == np.sign(one.mean) for s in one.strata)
            if name == "test_error":
                text = f"{100 * one.mean:+.1f} [{100 * one.low:+.1f}, {100 * one.high:+.1f}]"
            else:
                text = f"× {10**one.mean:.2f} [{10**one.low:.2f}, {10**one.high:.2f}]"
            row.append(f"{text}, {same}/{len(one.strata)}".replace("-", "−"))
        body.append((f"{SHORT[name]}{', points' if name == 'test_error' else ''}", *row))
    return format_table(("", *(label for *_, label in FACTORS)), body, "markdown")


def _chosen(board: Evidence) -> list[str]:
    best = next((row.score for row in board.rows if row.place and not row.control), "")
    return list(dict.fromkeys([*primary(), best, board.best_control]))


def first(board: Evidence) -> str:
    """Return the rows of the deciding scores, the best score and the best control."""
    rows = [row for row in board.rows if row.score in _chosen(board)]
    body = [
        (
            f"{row.place} ({row.place_low}–{row.place_high})",
            row.score + (" (control)" if row.control else ""),
            row.range("psi") or "",
            row.range("tau") or "",
            f"{row.range('within')}, p = {row.within_p:.2g}",
            f"{100 * row.gain:.1f} % [{100 * row.gain_low:.1f}, {100 * row.gain_high:.1f}]".replace("-", "−"),
            row.verdict,
        )
        for row in rows
    ]
    header = ("place", "score", "Ψ", "τ over cells", "ρ within cells", "error taken off within cells", "knows more?")
    return format_table(header, body, "markdown")


def axes(board: Evidence) -> str:
    """Return how often the deciding scores and the best others order cells rightly, factor by factor."""
    body = []
    for name in _chosen(board):
        psi = dict(part.rsplit(" ", 1) for part in board[name].axes.split("; "))
        error = f"{board[name].range('sign_error')}, {board[name].sign_error_90:.2f}"
        body.append((name, *(psi.get(factor, "").replace("-", "−") for factor in WORDS), error))
    return format_table(("ψ where only this changes", *WORDS.values(), "sign error: mean, 90 %"), body, "markdown")


def overfitting() -> str:
    """Return the table that ``benchmarks/overfitting.py`` made."""
    text = (DOCS.parent / "benchmarks" / "results" / "overfitting.md").read_text(encoding="utf-8")
    return "\n".join(line for line in text.splitlines() if line.startswith("|"))


def counts(trials: Trials) -> str:
    """Return how many networks of each kind there are, and reached the loss."""
    body = []
    for network in trials.levels("network"):
        for data in trials.levels("data"):
            part = trials.where(network=network, data=data)
            met = part.take(np.flatnonzero(part.met))
            errors = [met.where(label_noise=p)["test_error"] for p in met.levels("label_noise")]
            body.append((network, data, f"{len(met)} of {len(part)}", *(f"{100 * np.median(e):.1f} %" for e in errors)))
    noise = [f"median test error, {p:.0%} redrawn" for p in trials.levels("label_noise")]
    return format_table(("network", "data", "reached 0.01", *noise), body, "markdown")


def leaderboard(board: Evidence) -> str:
    """Return the page of the whole board."""
    words = "\n".join(f"- **{row.score}**: {board.place(row.score)}." for row in board.rows)
    return (
        "# Leaderboard\n\nWhat each score knows about test error over the networks of the zoo; [the page](../evidence.md) says "
        "what follows. Made by `python docs/make_evidence.py` from `data/zoo.h5`; a score of your own takes its place with "
        "`landscape leaderboard --score mymeasure:score`.\n\n![Every score with its intervals](../figures/evidence-board.png)\n\n"
        f"{board.table('markdown')}\n\n## In words\n\n{words}\n"
    )


def picture(trials: Trials, board: Evidence, changes: dict[tuple[str, str], Change]) -> Figure:
    """Draw what the eye should see first: over networks, between seeds of a cell, and what factors do."""
    with sheet(None, width=DOUBLE, height=4.6) as figure:
        top, bottom = figure.subfigures(2, 1, height_ratios=(1.35, 1))
        left, right = top.subplots(1, 2)
        _over_networks(left, trials, board)
        _within(right, trials, board)
        _factors(bottom.subplots(1, 1), changes)
        top.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, markerscale=1.5)
    return figure


def _over_networks(ax: Axes, trials: Trials, board: Evidence) -> None:
    of = np.array([f"{a}/{b}" for a, b in zip(*(trials[name].tolist() for name in STRATA), strict=True)])
    values = np.log10(trials[SCORE])
    usual = {one: np.nanmean(values[of == one]) for one in np.unique(of)}
    relative = 10 ** (values - np.array([usual[one] for one in of]))
    for i, noise in enumerate(trials.levels("label_noise")):
        for data in trials.levels("data"):
            chosen = (trials["label_noise"] == noise) & (trials["data"] == data)
            face = PALETTE[i] if data == "digits" else "none"
            ax.plot(
                relative[chosen], 100 * trials["test_error"][chosen], MARKERS[i], color=PALETTE[i], markersize=2.6,
                alpha=0.6, markerfacecolor=face, mew=0.5, label=f"{100 * noise:.0f} % of labels redrawn, {data}",
            )  # fmt: skip
    ax.set_xscale("log")
    ax.set_xlabel("average-case sharpness, mean of its kind = 1")
    ax.set_ylabel("test error (%)")
    ax.set_ylim(0, 100)
    ax.set_title(f"Over recipes: τ = {board[SCORE].tau:+.2f}".replace("-", "−"))
    plain_ticks(ax.xaxis)


def _within(ax: Axes, trials: Trials, board: Evidence) -> None:
    cells = _cells(trials)
    x, y = np.log10(trials[SCORE]), 100 * np.asarray(trials["test_error"])
    mean_x, mean_y = cells.means(x, y)
    dx, dy = 10 ** (x - mean_x[cells.of]), y - mean_y[cells.of]
    alone = np.bincount(cells.of, minlength=len(cells))[cells.of] > 1
    ax.plot(dx[alone], dy[alone], "o", color=GREY, markersize=2, alpha=0.4, mew=0)
    order = np.argsort(dx[alone])
    parts = [part for part in np.array_split(order, 10) if len(part)]
    middle = [np.median(dx[alone][part]) for part in parts]
    heights = [dy[alone][part].mean() for part in parts]
    errors = [dy[alone][part].std(ddof=1) / np.sqrt(len(part)) for part in parts]
    ax.errorbar(middle, heights, errors, color=PALETTE[1], marker="o", markersize=3, linewidth=1, capsize=0)
    ax.axhline(0, color="black", linewidth=0.5)
    ax.set_xscale("log")
    spread = np.percentile(dx[alone], [0.5, 99.5])
    ax.set_xlim(*spread)
    ax.set_ylim(*np.percentile(dy[alone], [0.5, 99.5]))
    ax.set_xlabel("average-case sharpness, mean of its cell = 1")
    ax.set_ylabel("test error − cell mean (points)")
    ticks = [t for t in (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 3) if spread[0] < t < spread[1]]
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ax.minorticks_off()
    ax.set_title(f"Between seeds: ρ = {board[SCORE].range('within')}".replace("-", "−"))


def _factors(ax: Axes, changes: dict[tuple[str, str], Change]) -> None:
    for i, name in enumerate(primary()):
        for j, (*_, label) in enumerate(FACTORS):
            one, at = changes[name, label], j + 0.22 * (i - 1)
            ax.plot(10 ** np.array(one.strata), [at] * len(one.strata), "|", color=PALETTE[i], alpha=0.6, markersize=4)
            ax.plot([10**one.low, 10**one.high], [at, at], color=PALETTE[i], linewidth=1.4)
            ax.plot(10**one.mean, at, MARKERS[i], color=PALETTE[i], markersize=3.5)
    ax.axvline(1, color="black", linewidth=0.5)
    ax.set_xscale("log")
    ticks = [2.0**power for power in range(-8, 9)]
    low, high = ax.get_xlim()
    ax.set_xticks(
        [t for t in ticks if low <= t <= high],
        [f"× {t:g}" if t >= 1 else f"× 1/{1 / t:g}" for t in ticks if low <= t <= high],
        minor=False,
    )
    ax.minorticks_off()
    ax.set_yticks(range(len(FACTORS)), [label for *_, label in FACTORS])
    ax.set_ylim(len(FACTORS) - 0.5, -0.5)
    ax.set_title("What moves the deciding scores (bars: 95 %; ticks: each network on each data set)")
    handles = [Line2D([], [], color=PALETTE[i], marker=MARKERS[i], label=SHORT[n]) for i, n in enumerate(primary())]
    legend_outside(ax.figure.figure, handles)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ZOO)
