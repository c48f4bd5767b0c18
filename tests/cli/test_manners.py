"""How the shell behaves: examples, one-line errors in the shell's own words, completion, no colour, no display."""

import os
import shlex
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from landscape.cli import main
from landscape.cli.completion import commands_of, script
from landscape.cli.parser import EXAMPLES, build

COMMANDS = commands_of(build())
OWN = ["--model", "mynet:build", "--data", "mynet:data"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_examples_that_it_understands(name, said):
    code, out, _ = said(name, "--help")
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


def test_arms_of_a_comparison_have_data_of_their_own(own, said, monkeypatch):
    arms = ["compare", "a=best.safetensors", "b=best.safetensors"]
    seen = {}
    monkeypatch.setattr("landscape.comparison.compare", lambda recipes, **_: seen.update(recipes) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main([*arms, *OWN, "--data", "b=mynet:noise"])
    labels = {name: arm[0].objective("train").batches.fingerprint() for name, arm in seen.items()}
    assert labels["a"] != labels["b"]
    assert "no arm 'c'; expected one of a, b" in said(*arms, *OWN, "--data", "c=mynet:noise")[2]
    assert "two loaders of all arms" in said(*arms, *OWN, "--data", "mynet:noise")[2]
    assert "no loader of b" in said(*arms, *OWN[:2], "--data", "a=mynet:noise")[2]


def test_what_is_known_of_the_training_is_told_in_the_shell(own, said, monkeypatch):
    weights = load_file("best.safetensors")
    for name, factor in (("a", 2.0), ("a-init", 3.0)):
        save_file({key: factor * value for key, value in weights.items()}, f"{name}.safetensors")
    seen = {}
    monkeypatch.setattr("landscape.comparison.compare", lambda recipes, **_: seen.update(recipes) or 1 / 0)
    words = [
        "compare",
        "a=a.safetensors",
        "b=a.safetensors",
        *OWN,
        "--batch-size",
        "5",
        "--init",
        "{}-init.safetensors",
    ]
    with pytest.raises(ZeroDivisionError):
        main(words)
    checkpoint = seen["a"][0]
    assert checkpoint.batch_size == 5
    torch.testing.assert_close(checkpoint.init["0.weight"], 3 * weights["0.weight"])
    assert "a-first.pt" in said(*words, "--init", "{}-first.pt")[2]
    assert "0, expected at least 1" in said(*words, "--batch-size", "0")[2]


@pytest.mark.parametrize(("option", "value"), [("--model", "mynet:broken"), ("--loss", "mynet:loss")])
def test_an_exception_of_the_users_code_names_the_users_line(option, value, own):
    words = ["eigen", "best.safetensors", *OWN, option, value]
    done = subprocess.run([sys.executable, "-m", "landscape", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "mynet.py" in done.stderr.splitlines()[-1] or "mynet.py" in done.stderr.split("  File ")[-1]


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
            [sys.executable, "-m", "landscape", *arguments], capture_output=True, text=True, check=True,
            env={**environment, "NO_COLOR": "1"},
        )  # fmt: skip
        assert "\033" not in done.stdout + done.stderr
        assert done.stderr == ""


@pytest.mark.slow
def test_meta_is_no_device_and_a_terminal_without_signs_and_a_full_disk_are_answered(own, said, monkeypatch):
    command = ["eigen", "best.safetensors", *OWN]
    assert said(*command, "--device", "meta")[::2] == (
        2,
        "landscape eigen: the device 'meta' holds no numbers; use 'cpu' or 'cuda'\n",
    )
    line, ascii = [sys.executable, "-m", "landscape", *command], {**os.environ, "PYTHONIOENCODING": "ascii"}
    printed = subprocess.run(line, cwd=own, env=ascii, capture_output=True, text=True, check=True)
    assert "?" in printed.stdout
    with open("/dev/full", "w") as full:
        printed = subprocess.run(line, cwd=own, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (printed.returncode, printed.stderr.splitlines()[-1]) == (
        2,
        "landscape eigen: cannot write the output: No space left on device",
    )
