"""Names of results and where the file keeps them: ``sgd-0/top5`` ↔ ``checkpoints/sgd-0/eigen/top5``."""

from __future__ import annotations

import re
from string import Formatter

from landscape.errors import LandscapeError
from landscape.results import KINDS, Result

_SLUG = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")


def check_slug(text: str) -> str:
    """Return a slug unchanged.

    Raises:
        LandscapeError: it is not made of lower-case letters, digits, dots, hyphens and underscores, at most 100.

    >>> check_slug("random-labels")
    'random-labels'
    """
    if not isinstance(text, str) or not _SLUG.fullmatch(text):
        raise LandscapeError(
            f"the name {text!r} is no slug: use up to 100 lower-case letters, digits, dots, hyphens and underscores, "
            "starting with a letter or digit"
        )
    return text


def path_of(cls: type[Result], name: str) -> str:
    """Return the group that keeps a result of a class under a name.

    Raises:
        LandscapeError: the name has too few or too many parts, or a part is no slug.

    >>> from landscape.results import Eigenpairs
    >>> path_of(Eigenpairs, "sgd-0/top5")
    'checkpoints/sgd-0/eigen/top5'
    """
    wanted = [field for _, field, _, _ in Formatter().parse(cls.location) if field]
    parts = name.split("/") if isinstance(name, str) else [name]
    if len(parts) != len(wanted):
        form = "/".join(wanted)
        raise LandscapeError(f"results of kind {cls.kind!r} are stored under a name of the form {form!r}, not {name!r}")
    return cls.location.format(**dict(zip(wanted, map(check_slug, parts), strict=True)))


def name_of(kind: str, path: str) -> str:
    """Return the name of the result stored in a group; of an unknown kind, the path itself.

    >>> name_of("eigenpairs", "checkpoints/sgd-0/eigen/top5")
    'sgd-0/top5'
    """
    cls = KINDS.get(kind)
    if cls is not None:
        pattern = "".join(
            re.escape(literal) + ("([^/]+)" if field else "")
            for literal, field, _, _ in Formatter().parse(cls.location)
        )
        if found := re.fullmatch(pattern, path):
            return "/".join(found.groups())
    return path


def slugify(name: str) -> str:
    """Return a name fit for a study file: lower case, words joined by hyphens.

    >>> slugify("Random labels (p = 1)")
    'random-labels-p-1'
    """
    slug = re.sub(r"[^a-z0-9._]+", "-", name.lower()).strip("-._")
    if not slug:
        raise LandscapeError(f"the name {name!r} has no letters or digits; expected a name such as 'random labels'")
    return slug
