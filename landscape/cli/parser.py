"""The command line: commands, their options and their help."""

from __future__ import annotations

import argparse
from typing import NoReturn

from landscape._version import __version__
from landscape.cli import commands
from landscape.cli.targets import add_own, add_target, positive, whole

EXPORTS = ("csv", "goldstein", "json", "latex", "paraview")

OVERVIEW = """\
examples:
  landscape demo --out study                       the main job: three recipes, eight seeds, one verdict
  landscape train sgd random-labels --seeds 8 --out runs
  landscape experiment randomisation --workers 2   can it fit noise, how fast, how much sharper?
  landscape eigen runs/sgd-0.safetensors -k 5 --save study.h5
  landscape compare SGD='runs/sgd-?.safetensors' Random='runs/random-labels-?.safetensors' --save study.h5
  landscape score best.safetensors --model mynet:build --data mydata:load
  landscape leaderboard --score mymeasure:score    what does my score know about test error?
  landscape info study.h5
  landscape report study.h5 -o report.html

exit codes: 0 done; 1 an unexpected error; 2 a wrong input, said in one line; 130 interrupted (finished work is kept)
"""

EXAMPLES = {
    "demo": """\
  landscape demo --quick --out quick          about a minute, to see that everything works
  landscape demo --out study                  the main job: three recipes, eight seeds, one verdict""",
    "train": """\
  landscape train sgd random-labels --seeds 8 --out runs
  landscape train sgd --sizes 64 128 10 --target 0.05 --out small""",
    "experiment": """\
  landscape experiment                        list them
  landscape experiment randomisation --quick --out tried""",
    "eigen": """\
  landscape eigen runs/sgd-0.safetensors -k 5 --save study.h5
  landscape eigen runs/*.safetensors --which BE --tol 1e-2
  landscape eigen best.pt --model mynet:build --data mynet:load --parameters 'classifier.*'""",
    "slice": """\
  landscape slice runs/sgd-0.safetensors --points 51 --save study.h5
  landscape slice best.pt --model mynet:build --data mynet:load --dims 1 --normalize layer""",
    "score": """\
  landscape score runs/sgd-0.safetensors --save study.h5
  landscape score runs/*.safetensors --scores lambda-max trace --json > scores.json
  landscape score best.safetensors --model mynet:build --data mynet:load --device cuda""",
    "compare": """\
  landscape compare SGD='runs/sgd-?.safetensors' Random='runs/random-labels-?.safetensors' --save study.h5
  landscape compare A='a/*.pt' B='b/*.pt' --model mynet:build --data mynet:load --waive gradient
  landscape compare true='a/*.pt' noise='b/*.pt' --model mynet:build --data mynet:load noise=mynet:random_labels""",
    "leaderboard": """\
  landscape leaderboard                            the board of all scores
  landscape leaderboard --score mymeasure:score    a score of your own: measured on 300 networks, resumably
  landscape leaderboard --score log-volume --sample 100 --workers 8""",
    "plot": """\
  landscape plot study.h5 --out figures
  landscape plot study.h5 sgd-0/plane main --format pdf""",
    "export": """\
  landscape export csv study.h5 sgd-0/plane -o plane.csv
  landscape export latex study.h5 main -o table.tex""",
    "report": """\
  landscape report study.h5 -o report.html
  landscape report study.h5 --latex paper""",
    "info": """\
  landscape info study.h5""",
    "validate": """\
  landscape validate study.h5""",
    "completion": """\
  landscape completion bash > ~/.local/share/bash-completion/completions/landscape
  echo 'eval "$(landscape completion zsh)"' >> ~/.zshrc""",
}
"""Shown below the help of each command; every command has at least one."""


class _Help(argparse.RawDescriptionHelpFormatter):
    """Help that ends with the default of an option, where it has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        value = action.default
        if not action.option_strings or value is None or value is False or value in ([], argparse.SUPPRESS):
            return action.help
        return f"{action.help} (default: {' '.join(map(str, value)) if isinstance(value, list) else value})"


class _Parser(argparse.ArgumentParser):
    """A parser that says in one line what was wrong."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def build() -> argparse.ArgumentParser:
    """Return the parser of ``landscape``."""
    parser = _Parser(
        prog="landscape",
        description="Is this minimum flat or spiky, and would the answer survive a referee?",
        epilog=OVERVIEW,
        formatter_class=_Help,
    )
    parser.add_argument("--version", action="version", version=f"landscape {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, function: object, summary: str) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = subparsers.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=f"examples:\n{EXAMPLES[name]}",
            formatter_class=_Help,
        )
        made.set_defaults(run=function)
        made.add_argument("--json", action="store_true", help="print the result as JSON")
        made.add_argument("--quiet", action="store_true", help="no progress bars (also LANDSCAPE_PROGRESS=0)")
        return made

    demo = command("demo", commands.demo, "train SGD, momentum and random labels; measure, compare, draw")
    demo.add_argument("--out", default="study", help="folder to write")
    demo.add_argument("--seeds", type=positive, metavar="N", default=8, help="networks per recipe")
    demo.add_argument("--quick", action="store_true", help="small network, few examples, 2 seeds: a minute")
    demo.add_argument("--workers", type=positive, metavar="N", default=2, help="training processes")

    train = command("train", commands.train, "train reference networks on the digits")
    train.add_argument("recipe", nargs="+", help="sgd, momentum, momentum-matched, large-batch, random-labels, …")
    train.add_argument("--out", required=True, help="folder for checkpoints and manifests")
    train.add_argument("--seeds", type=positive, metavar="N", default=1, help="runs per recipe")
    train.add_argument("--first-seed", type=_seed, default=0, help="seed of the first run")
    train.add_argument("--split-seed", type=_seed, default=0, help="seed of the split into training and test examples")
    train.add_argument("--workers", type=positive, metavar="N", default=1, help="training processes")
    train.add_argument("--sizes", type=positive, nargs="+", default=[64, 256, 256, 10], help="widths of the network")
    train.add_argument("--target", type=float, help="training cross-entropy to stop at (default: 0.01)")
    train.add_argument("--epochs", dest="max_epochs", type=positive, metavar="N", help="where to give up")
    train.add_argument("--lr", type=float, help="learning rate")
    train.add_argument("--momentum", type=float, help="0 to below 1")
    train.add_argument("--batch-size", type=positive, help="examples per step")
    train.add_argument("--weight-decay", type=float, help="L2 penalty in every step")
    train.add_argument(
        "--augment", dest="shift", type=int, metavar="PIXELS", help="shift images at random by up to this much"
    )
    train.add_argument("--label-noise", type=float, metavar="P", help="redraw each training label with probability P")
    train.add_argument("--examples", type=positive, metavar="N", help="train on N examples only")

    experiment = command("experiment", commands.experiment, "repeat a published experiment; without a name, list them")
    experiment.add_argument("name", nargs="?", metavar="NAME", help="randomisation, double-descent, …")
    experiment.add_argument("--out", default="experiments", help="folder to write")
    experiment.add_argument("--save", metavar="STUDY", help="another place for the study file (default: OUT/NAME.h5)")
    experiment.add_argument("--workers", type=positive, metavar="N", default=1, help="processes")
    experiment.add_argument(
        "--quick", action="store_true", help="small settings: seconds, to see that everything works"
    )

    eigen = command("eigen", commands.eigen, "extreme eigenvalues of the Hessian, with measured residuals")
    add_target(eigen)
    eigen.add_argument("-k", type=positive, metavar="N", default=5, help="how many")
    eigen.add_argument("--which", choices=["LA", "SA", "LM", "BE"], default="LA", help="which end, as in SciPy")
    eigen.add_argument("--tol", type=float, default=1e-3, help="relative residual")
    eigen.add_argument(
        "--certify", type=float, metavar="P", help="go on until none was missed with probability P (as 0.99)"
    )
    _measured(eigen)

    slices = command("slice", commands.slice_, "loss along random filter-normalised directions")
    add_target(slices)
    slices.add_argument("--dims", type=int, choices=[1, 2], default=2, help="a line or a plane")
    slices.add_argument("--points", type=positive, metavar="N", default=51, help="grid points per axis")
    slices.add_argument("--span", type=float, default=1.0, help="from -span to span")
    slices.add_argument(
        "--normalize",
        choices=["filter", "layer", "model", "element", "none"],
        default="filter",
        help="what gets the norm of the network's own weights",
    )
    slices.add_argument("--workers", type=positive, metavar="N", default=1, help="processes that share the rows")
    _measured(slices)

    score = command("score", commands.score, "sharpness scores with radius, standard error and cost")
    add_target(score)
    score.add_argument("--scores", nargs="+", help="slugs, or all (default: the panel)")
    score.add_argument("--audit", action="store_true", help="show what rescalings of the network do to every score")
    _measured(score)

    compare = command("compare", commands.compare, "compare recipes over seeds, with gates, exact tests and a verdict")
    compare.add_argument("recipes", nargs="+", metavar="NAME=PATTERN", help="checkpoints of a recipe; first: reference")
    add_own(compare, arms=True)
    compare.add_argument("--scores", nargs="+", help="slugs (default: the panel)")
    compare.add_argument("--margin", type=float, default=0.05, help="equivalence margin in log10")
    compare.add_argument("--loss-tolerance", type=float, default=0.1, help="allowed difference of losses")
    compare.add_argument(
        "--waive",
        nargs="+",
        default=[],
        metavar="GATE",
        help="gates you take responsibility for, by name as the table of gates has them: gradient, 'train loss' …",
    )
    compare.add_argument(
        "--match", choices=["temper"], help="when losses differ: bring every network to one loss by its last layer"
    )
    compare.add_argument("--workers", type=positive, metavar="N", default=1, help="processes that share the seeds")
    _measured(compare, entry="main", on=False)

    board = command(
        "leaderboard",
        commands.leaderboard,
        "what scores know about test error over the zoo; a new score's place among them",
    )
    board.add_argument(
        "--score", nargs="+", default=[], metavar="MODULE:FUNCTION", help="new scores, or names in the register"
    )
    board.add_argument("--zoo", metavar="PATH", help="another zoo (default: the one that ships with the repository)")
    board.add_argument("--sample", type=positive, metavar="N", default=300, help="networks to measure")
    board.add_argument("--workers", type=positive, metavar="N", default=2, help="processes")
    board.add_argument("--save", default="leaderboard.h5", metavar="STUDY", help="keeps what is measured")
    board.add_argument("--seed", type=_seed, default=0, help="seed of random draws")
    board.add_argument("--overwrite", action="store_true", help="replace what another version of the score has left")

    plot = command("plot", commands.plot, "draw entries of a study")
    plot.add_argument("study", help="the HDF5 file")
    plot.add_argument("entries", nargs="*", help="sgd-0/plane … (default: everything that can be drawn)")
    plot.add_argument("--out", default="figures", help="folder")
    plot.add_argument(
        "--format",
        nargs="+",
        default=["png", "pdf"],
        choices=["png", "pdf", "svg", "html"],
        help="html: to turn and zoom, where a kind has such a figure",
    )

    export = command("export", commands.export, "write an entry of a study in another format")
    export.add_argument("format", choices=EXPORTS, metavar="FORMAT", help=", ".join(EXPORTS))
    export.add_argument("study", help="the HDF5 file")
    export.add_argument("entry", help="sgd-0/plane …")
    export.add_argument("-o", "--output", required=True, metavar="PATH", help="the file to write")

    report = command("report", commands.report, "one HTML page: verdict, tables, figures, methods and bibliography")
    report.add_argument("study", help="the HDF5 file")
    report.add_argument("-o", "--output", default="report.html", metavar="PATH", help="the page")
    report.add_argument("--latex", metavar="DIR", help="also write tables, figures and BibTeX for a paper into DIR")

    for name, function, summary in (
        ("info", commands.info, "what a study holds"),
        ("validate", commands.validate, "check a study against the schema"),
    ):
        command(name, function, summary).add_argument("study", help="the HDF5 file")

    completion = command("completion", commands.completion, "print the script for tab completion in a shell")
    completion.add_argument("shell", choices=["bash", "zsh"], help="which shell reads it")
    completion.set_defaults(parser=parser)

    return parser


def _measured(parser: argparse.ArgumentParser, *, entry: str | None = None, on: bool = True) -> None:
    if on:
        parser.add_argument("--on", choices=["train", "test"], default="train", help="which data")
    parser.add_argument("--seed", type=_seed, default=0, help="seed of random draws")
    parser.add_argument("--save", metavar="STUDY", help="store the result in this HDF5 file")
    parser.add_argument("--entry", default=entry, help="its name there")
    parser.add_argument("--overwrite", action="store_true", help="replace a different result of that name")


def _seed(text: str) -> int:
    return whole(text, 0, "0 or more")
