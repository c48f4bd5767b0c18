"""How reference networks are trained: a registry of recipes that differ in one thing each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, Literal, get_args

from landscape.arguments import check_numbers
from landscape.errors import LandscapeError

Inputs = Literal["true", "shuffled-pixels", "random-pixels", "gaussian"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Optimiser, treatment of the training data, and when to stop.

    Attributes:
        name: slug, used in file names and study files.
        long_name: for people.
        optimiser: ``sgd`` or ``adam``, as in `torch.optim`.
        lr: learning rate η, constant.
        momentum: β of ``sgd`` (no dampening, no Nesterov): v ← βv + g, θ ← θ − ηv. At a constant gradient it moves like
            plain SGD with η/(1 − β).
        batch_size: examples per step; the last batch of an epoch may be smaller.
        weight_decay: λ in g ← g + λθ, on all parameters.
        shift: augmentation: every image of a batch is moved by up to this many pixels, each way, at random; 0 is off.
        inputs: what the network sees: the ``true`` inputs; ``shuffled-pixels``, one permutation of pixels for all images;
            ``random-pixels``, another permutation for every image; ``gaussian``, noise with the mean and the variance of
            the training inputs. Training and test inputs are treated alike, once, before training.
        label_noise: probability with which a training label is replaced by a uniformly drawn class; 1 is random labels.
        examples: number of training examples to keep, drawn at random; None keeps all.
        poison: number of extra training points with wrong labels; losses are reported without them.
        target: training cross-entropy (nats, evaluation mode, no augmentation, no poison) at which to stop.
        target_accuracy: training accuracy that must hold there as well.
        max_epochs: where to give up.
    """

    name: str
    long_name: str
    optimiser: Literal["sgd", "adam"] = "sgd"
    lr: float = 0.05
    momentum: float = 0.0
    batch_size: int = 64
    weight_decay: float = 0.0
    shift: int = 0
    inputs: Inputs = "true"
    label_noise: float = 0.0
    examples: int | None = None
    poison: int = 0
    target: float = 0.01
    target_accuracy: float = 1.0
    max_epochs: int = 2000

    def __post_init__(self) -> None:
        check_numbers({field.name: str(field.type) for field in fields(self)}, vars(self))
        checks = {
            "optimiser must be 'sgd' or 'adam'": self.optimiser in ("sgd", "adam"),
            "lr must be positive": self.lr > 0,
            "momentum must be at least 0 and below 1": 0 <= self.momentum < 1,
            "momentum belongs to 'sgd'; leave it at 0 for 'adam'": self.optimiser == "sgd" or self.momentum == 0,
            "batch_size must be at least 1": self.batch_size >= 1,
            "weight_decay must not be negative": self.weight_decay >= 0,
            "shift must not be negative": self.shift >= 0,
            f"inputs must be one of {', '.join(get_args(Inputs))}": self.inputs in get_args(Inputs),
            "shift moves images, which shuffled or random inputs are not; leave one of them": not self.shift
            or self.inputs == "true",
            "label_noise must be between 0 and 1": 0 <= self.label_noise <= 1,
            "examples must be at least 1": self.examples is None or self.examples >= 1,
            "poison must not be negative": self.poison >= 0,
            "target must be positive": self.target > 0,
            "target_accuracy must be between 0 and 1": 0 <= self.target_accuracy <= 1,
            "max_epochs must be at least 1": self.max_epochs >= 1,
        }
        for message, holds in checks.items():
            if not holds:
                raise LandscapeError(f"recipe {self.name!r}: {message}")


_RECIPES = (
    Recipe(name="sgd", long_name="SGD"),
    Recipe(name="momentum", long_name="SGD with momentum 0.9, equal learning rate", momentum=0.9),
    Recipe(name="momentum-matched", long_name="SGD with momentum 0.9, equal η/(1 − β)", lr=0.005, momentum=0.9),
    Recipe(name="large-batch", long_name="SGD, batches of 500", batch_size=500),
    Recipe(name="random-labels", long_name="SGD on random labels", label_noise=1.0),
    Recipe(name="corrupted-labels", long_name="SGD, 40 % of labels redrawn", label_noise=0.4),
    Recipe(name="small-data", long_name="SGD on 100 examples", examples=100),
    Recipe(name="poisoned", long_name="SGD with 1,000 extra wrongly labelled points", poison=1000),
)

RECIPES: MappingProxyType[str, Recipe] = MappingProxyType({recipe.name: recipe for recipe in _RECIPES})
"""Recipes by name. The settings for 1,000 digits follow Zhang et al. 2017 (arXiv 1611.03530) in keeping every
hyperparameter the same when labels are randomised."""


def as_recipe(recipe: Any) -> Recipe:
    """Return a recipe, checked to be one and not its name.

    Raises:
        LandscapeError: it is something else.
    """
    if not isinstance(recipe, Recipe):
        raise LandscapeError(f"recipe={recipe!r:.40} is {type(recipe).__name__}, expected a Recipe: get_recipe('sgd')")
    return recipe


def as_recipes(recipes: Any) -> tuple[Recipe, ...]:
    """Return several recipes, checked to be recipes of different names.

    Raises:
        LandscapeError: anything else.

    >>> as_recipes([get_recipe("sgd")])[0].name
    'sgd'
    """
    if isinstance(recipes, str | Recipe) or not isinstance(recipes, Iterable):
        raise LandscapeError(
            f"recipes={recipes!r:.40} is {type(recipes).__name__}, expected several recipes: [get_recipe('sgd')]"
        )
    found = tuple(map(as_recipe, recipes))
    names = [recipe.name for recipe in found]
    if len(set(names)) < len(names):
        raise LandscapeError(f"recipes {', '.join(names)}: names repeat; give each recipe a name of its own")
    return found


def get_recipe(name: str, /, **changes: Any) -> Recipe:
    """Look a recipe up by name and change settings of it.

    Args:
        name: a key of `RECIPES`.
        changes: fields of `Recipe` to replace; give another `name` too if both versions go into one folder.

    Raises:
        LandscapeError: an unknown recipe, an unknown field or a value out of range.

    >>> get_recipe("sgd", name="sgd-decayed", weight_decay=5e-4).weight_decay
    0.0005
    """
    if not isinstance(name, str) or name not in RECIPES:
        raise LandscapeError(f"recipe {name!r} is not known; expected one of {', '.join(RECIPES)}")
    try:
        return replace(RECIPES[name], **changes)
    except TypeError as error:
        fields = ", ".join(Recipe.__dataclass_fields__)
        raise LandscapeError(f"recipe {name!r} has no setting {', '.join(changes)}; settings are {fields}") from error
