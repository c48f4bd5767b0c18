"""Results of earlier schemas, and what makes today's of them.

A result says by which schema version it was written. Fields that were added later with a default need nothing here; a
kind that was renamed, or whose fields changed, has an entry in `MIGRATIONS` under the last version that wrote it so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from landscape.results import Result


@dataclass(frozen=True)
class Old:
    """What the group of an old result holds, read without its class.

    Attributes:
        kind: the name of its class then.
        attributes: by name; of a field of rows the number of rows, of a field of arrays their names.
        arrays: by path below the group.
        columns: of rows, by path below the group: one value per row.
        results: nested ones, by name.
    """

    kind: str
    attributes: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]
    columns: Mapping[str, list[Any]]
    results: Mapping[str, Result]


@dataclass(frozen=True)
class Migration:
    """How an old kind is read today.

    Attributes:
        kind: the name of its class today, which decides the name that the result goes by.
        read: makes today's result of what the file holds.
    """

    kind: str
    read: Callable[[Old], Result]


MIGRATIONS: dict[int, dict[str, Migration]] = {}
"""By the last schema version that wrote a kind in that form, and the kind."""


def migration_of(kind: Any, version: Any) -> Migration | None:
    """Return how a result is brought to the present schema, or `None` when it is read as it is."""
    if not isinstance(version, int):
        return None
    later = sorted(last for last, kinds in MIGRATIONS.items() if last >= version and kind in kinds)
    return MIGRATIONS[later[0]][kind] if later else None
