"""Recipes that train reference networks, and experiments made of them."""

from landscape.studies.architecture import architecture
from landscape.studies.basin_volume import basin_volume
from landscape.studies.descents import Descent, Problem
from landscape.studies.double_descent import double_descent
from landscape.studies.edge_of_stability import edge_of_stability
from landscape.studies.guess_and_check import guess_and_check
from landscape.studies.kernel_regime import kernel_regime
from landscape.studies.large_batch import large_batch
from landscape.studies.leaderboard import leaderboard
from landscape.studies.memorised_examples import memorised_examples
from landscape.studies.optimisers import optimisers
from landscape.studies.randomisation import memorisation_test, randomisation
from landscape.studies.randomisation_table import randomisation_table
from landscape.studies.zoo import measure_zoo
from landscape.studies.zoo_networks import zoo_networks
from landscape.training import (
    RECIPES,
    History,
    LossGoal,
    NormGoal,
    Recipe,
    TrainedRun,
    TrainingSet,
    as_checkpoint,
    corrupt_labels,
    evaluate,
    get_recipe,
    load_checkpoint,
    load_run,
    save_run,
    train,
    train_many,
    train_through,
    training_set,
)

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
    "leaderboard",
    "load_checkpoint",
    "load_run",
    "measure_zoo",
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
    "zoo_networks",
]
