"""How the shell behaves: examples, one-line errors in the shell's own words, completion, no colour, no display."""

import os
import shlex
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from landscape.cli import main
from landscape.cli.completion import commands_of, script
from landscape.cli.examples import EXAMPLES
from landscape.cli.parser import build

COMMANDS = commands_of(build())
OWN = ["--model", "mynet3:build", "--data", "mynet3:data"]


def said(capsys, *arguments):
    try:
        code = main([str(a) for a in arguments])
    except SystemExit as stopped:
        code = stopped.code
    out = capsys.readouterr()
    return code, out.out, out.err


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder with a module of the user's own and weights that fit its network."""
    (tmp_path / "mynet3.py").write_text(
        "import torch\n"
        "def build():\n    return torch.nn.Linear(3, 2)\n"
        "def wide(width):\n    return torch.nn.Linear(3, width)\n"
        "def number():\n    return 3\n"
        "def broken():\n    return torch.nn.Linear(3, undefined)\n"
        "def data():\n    return torch.ones(6, 3), torch.arange(6) % 2\n"
        "def noise():\n    return torch.ones(6, 3), torch.ones(6, dtype=int)\n"
        "def loss(output, target):\n    return output.no_such_method(target)\n"
    )
    save_file(torch.nn.Linear(3, 2).state_dict(), tmp_path / "best.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "mynet3", raising=False)
    return tmp_path


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_examples_that_it_understands(name, capsys):
    code, out, _ = said(capsys, name, "--help")
    assert code == 0
    assert EXAMPLES[name] in out
    for line in EXAMPLES[name].splitlines():
        words = shlex.split(
            line.partition("   ")[0] if not line.startswith("   ") else line.strip().partition("   ")[0]
        )
        if words[:1] == ["landscape"]:
            words = words[: words.index(">")] if ">" in words else words
            assert build().parse_args(words[1:]).command == name


@pytest.mark.parametrize("name", COMMANDS)
def test_flags_are_the_same_everywhere(name):
    options = {flag for action in COMMANDS[name]._actions for flag in action.option_strings}
    assert {"--json", "--quiet", "--help"} <= options
    for action in COMMANDS[name]._actions:
        assert action.help, f"{name} {action.dest} has no help"


WRONG = {
    "seed": (["eigen", "x.safetensors", "--seed", "-1"], "argument --seed: -1, expected 0 or more"),
    "number": (["eigen", "x.safetensors", "--tol", "small"], "--tol: invalid float value"),
    "command": (["eigne", "x"], "invalid choice: 'eigne'"),
    "no command": ([], "COMMAND"),
    "sizes": (["train", "sgd", "--out", "runs", "--sizes", "64", "5"], "--sizes 64 5: the digits have 64 pixels"),
    "one recipe": (["compare", "A=*.safetensors", *OWN], "at least two"),
    "twice": (["compare", "A=*.safetensors", "A=*.safetensors", *OWN], "'A' is named twice"),
    "path": (
        ["eigen", "best.safetensors", "--model", "../mynet3:build", "--data", "mynet3:data"],
        "write mynet3:build",
    ),
    "file": (
        ["eigen", "best.safetensors", "--model", "mynet3.py:build", "--data", "mynet3:data"],
        "write mynet3:build",
    ),
    "a factory with arguments": (
        ["eigen", "best.safetensors", "--model", "mynet3:wide", "--data", "mynet3:data"],
        "mynet3:wide cannot be called without arguments (missing a required argument: 'width'); name a function that needs none",
    ),
    "no module": (["eigen", "best.safetensors", "--model", "mynet3:number", "--data", "mynet3:data"], "returned int"),
    "no test": (["eigen", "best.safetensors", *OWN, "--on", "test"], "training data only"),
    "k": (["eigen", "best.safetensors", *OWN, "-k", "99"], "k=99"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_line(case, own, capsys):
    arguments, expected = WRONG[case]
    code, out, err = said(capsys, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert expected in err


def test_arms_of_a_comparison_have_data_of_their_own(own, capsys, monkeypatch):
    arms = ["compare", "a=best.safetensors", "b=best.safetensors"]
    seen = {}
    monkeypatch.setattr("landscape.comparison.compare", lambda recipes, **_: seen.update(recipes) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main([*arms, *OWN, "--data", "b=mynet3:noise"])
    labels = {name: arm[0].objective("train").batches.fingerprint() for name, arm in seen.items()}
    assert labels["a"] != labels["b"]
    assert "no arm 'c'; expected one of a, b" in said(capsys, *arms, *OWN, "--data", "c=mynet3:noise")[2]
    assert "two loaders of all arms" in said(capsys, *arms, *OWN, "--data", "mynet3:noise")[2]
    assert "no loader of b" in said(capsys, *arms, *OWN[:2], "--data", "a=mynet3:noise")[2]


@pytest.mark.parametrize(("option", "value"), [("--model", "mynet3:broken"), ("--loss", "mynet3:loss")])
def test_an_exception_of_the_users_code_names_the_users_line(option, value, own):
    words = ["eigen", "best.safetensors", *OWN, option, value]
    done = subprocess.run([sys.executable, "-m", "landscape.cli", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "mynet3.py" in done.stderr.splitlines()[-1] or "mynet3.py" in done.stderr.split("  File ")[-1]


def test_completion_offers_commands_options_choices_and_names(tmp_path, capsys):
    assert main(["completion", "bash"]) == 0
    (tmp_path / "landscape").write_text(capsys.readouterr().out)

    def offered(*words):
        line = " ".join(shlex.quote(word) for word in words)
        code = f"source ./landscape; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _shtab_landscape; echo ${{COMPREPLY[@]}}"
        done = subprocess.run(["bash", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.split()

    assert offered("landscape", "ei") == ["eigen"]
    assert set(offered("landscape", "")) == set(COMMANDS)
    assert offered("landscape", "eigen", "x", "--which", "") == ["LA", "SA", "LM", "BE"]
    assert offered("landscape", "score", "--sc") == ["--scores"]
    assert "goldstein" in offered("landscape", "export", "")
    assert offered("landscape", "score", "land") == ["landscape"]  # files
    assert offered("landscape", "export", "csv", "land") == ["landscape"]
    assert {"sgd", "random-labels"} <= set(offered("landscape", "train", ""))
    assert offered("landscape", "train", "sgd", "random-l") == ["random-labels"]
    assert offered("landscape", "train", "sgd", "--out", "land") == ["landscape"]
    assert "double-descent" in offered("landscape", "experiment", "")
    assert offered("landscape", "score", "x", "--scores", "trace", "lambda-ma") == ["lambda-max"]
    assert offered("landscape", "plot", "x", "--format", "png", "h") == ["html"]


def test_zsh_has_a_script_of_its_own():
    assert script(build(), "zsh", {("train", "recipe"): ["sgd"]}).startswith("#compdef landscape")
    assert "compadd sgd" in script(build(), "zsh", {("train", "recipe"): ["sgd"]})


@pytest.mark.slow
def test_no_colour_no_display_no_bar(own):
    words = ["eigen", "best.safetensors", *OWN, "-k", "1"]
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "MPLBACKEND")}
    for arguments in (words, ["eigen", "--help"]):
        done = subprocess.run(
            [sys.executable, "-m", "landscape.cli", *arguments], capture_output=True, text=True, check=True,
            env={**environment, "NO_COLOR": "1"},
        )  # fmt: skip
        assert "\033" not in done.stdout + done.stderr
        assert done.stderr == ""


@pytest.mark.slow
def test_meta_is_no_device_and_a_terminal_without_signs_and_a_full_disk_are_answered(own, capsys, monkeypatch):
    command = ["eigen", "best.safetensors", *OWN]
    assert said(capsys, *command, "--device", "meta")[::2] == (
        2,
        "landscape eigen: the device 'meta' holds no numbers; use 'cpu' or 'cuda'\n",
    )
    line, ascii = [sys.executable, "-m", "landscape.cli", *command], {**os.environ, "PYTHONIOENCODING": "ascii"}
    printed = subprocess.run(line, cwd=own, env=ascii, capture_output=True, text=True, check=True)
    assert "?" in printed.stdout
    with open("/dev/full", "w") as full:
        printed = subprocess.run(line, cwd=own, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (printed.returncode, printed.stderr.splitlines()[-1]) == (
        2,
        "landscape eigen: cannot write the output: No space left on device",
    )
