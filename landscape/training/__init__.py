"""Recipes and the training of reference networks; `tracker` watches a training of the user's own."""

from landscape.training.factories import as_split, check_factory
from landscape.training.recipes import RECIPES, Recipe, get_recipe
from landscape.training.runs import (
    History,
    ModelFactory,
    TrainedRun,
    as_checkpoint,
    describe_model,
    load_checkpoint,
    load_run,
    save_run,
)
from landscape.training.train import evaluate, train, train_many, train_through
from landscape.training.trainer import Goal, LossGoal, NormGoal
from landscape.training.training_data import TrainingSet, corrupt_labels, training_set

__all__ = [
    "RECIPES",
    "Goal",
    "History",
    "LossGoal",
    "ModelFactory",
    "NormGoal",
    "Recipe",
    "TrainedRun",
    "TrainingSet",
    "as_checkpoint",
    "as_split",
    "check_factory",
    "corrupt_labels",
    "describe_model",
    "evaluate",
    "get_recipe",
    "load_checkpoint",
    "load_run",
    "save_run",
    "train",
    "train_many",
    "train_through",
    "training_set",
]
