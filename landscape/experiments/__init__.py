"""Recipes that train reference networks, and experiments made of them."""

from landscape.experiments.architecture import architecture
from landscape.experiments.basin_volume import basin_volume
from landscape.experiments.checkpoints import as_checkpoint, load_checkpoint
from landscape.experiments.descents import Descent, Problem
from landscape.experiments.double_descent import double_descent
from landscape.experiments.edge_of_stability import edge_of_stability
from landscape.experiments.guess_and_check import guess_and_check
from landscape.experiments.kernel_regime import kernel_regime
from landscape.experiments.large_batch import large_batch
from landscape.experiments.many import train_many
from landscape.experiments.memorisation_test import memorisation_test
from landscape.experiments.memorised_examples import memorised_examples
from landscape.experiments.optimisers import optimisers
from landscape.experiments.randomisation import randomisation
from landscape.experiments.randomisation_table import randomisation_table
from landscape.experiments.recipes import RECIPES, Recipe, get_recipe
from landscape.experiments.runs import History, TrainedRun, load_run, save_run
from landscape.experiments.train import evaluate, train, train_through
from landscape.experiments.trainer import LossGoal, NormGoal
from landscape.experiments.training_data import TrainingSet, corrupt_labels, training_set

__all__ = [
    "RECIPES",
    "Descent",
    "History",
    "LossGoal",
    "NormGoal",
    "Problem",
    "Recipe",
    "TrainedRun",
    "TrainingSet",
    "architecture",
    "as_checkpoint",
    "basin_volume",
    "corrupt_labels",
    "double_descent",
    "edge_of_stability",
    "evaluate",
    "get_recipe",
    "guess_and_check",
    "kernel_regime",
    "large_batch",
    "load_checkpoint",
    "load_run",
    "memorisation_test",
    "memorised_examples",
    "optimisers",
    "randomisation",
    "randomisation_table",
    "save_run",
    "train",
    "train_many",
    "train_through",
    "training_set",
]
