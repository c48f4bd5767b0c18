"""Recipes that train reference networks, and experiments made of them."""

from landscape.experiments.checkpoints import as_checkpoint, load_checkpoint
from landscape.experiments.guess_and_check import guess_and_check
from landscape.experiments.many import train_many
from landscape.experiments.memorised_examples import memorised_examples
from landscape.experiments.recipes import RECIPES, Recipe, get_recipe
from landscape.experiments.runs import History, TrainedRun, load_run, save_run
from landscape.experiments.train import evaluate, train, train_through
from landscape.experiments.trainer import LossGoal, NormGoal
from landscape.experiments.training_data import TrainingSet, corrupt_labels, training_set

__all__ = [
    "RECIPES",
    "History",
    "LossGoal",
    "NormGoal",
    "Recipe",
    "TrainedRun",
    "TrainingSet",
    "as_checkpoint",
    "corrupt_labels",
    "evaluate",
    "get_recipe",
    "guess_and_check",
    "load_checkpoint",
    "load_run",
    "memorised_examples",
    "save_run",
    "train",
    "train_many",
    "train_through",
    "training_set",
]
