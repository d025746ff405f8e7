"""Checks of what a caller hands to a public function: the wrong kind of thing is refused in one line, by its name."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from errno import EACCES
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from layerprobe.errors import InputError
from layerprobe.ranges import PATH, limit_problem, parted

if TYPE_CHECKING:
    import pandas as pd

Options = TypeVar("Options", bound=type)


def checked(options: Options) -> Options:
    """Makes an options class refuse a field of a wrong type or outside its range; goes below `@dataclass`.

    YAML and flags are checked by the same rules before, by their keys; this is for Python.

    Raises:
        InputError: on construction; the message names class and field.
    """
    own = options.__dict__.get("__post_init__")

    def __post_init__(self: Any) -> None:  # noqa: N807 - what dataclasses call it
        _check_fields(self)
        if own is not None:
            own(self)

    options.__post_init__ = __post_init__
    return options


def _check_fields(options: Any) -> None:
    for name, hint in hints_of(type(options)).items():
        require_key(f"{type(options).__name__}.{name}", getattr(options, name), hint)


@cache
def hints_of(options: type) -> dict[str, Any]:
    """Returns the type of every field of an options class, with its declared limit."""
    return get_type_hints(options, include_extras=True)


def value_problem(value: Any, hint: Any) -> str | None:
    """Returns what is wrong with a field's value, such as `must be at least 1; got 0`; None where nothing is.

    Args:
        value: what came.
        hint: the field's type, with its limit (`layerprobe.ranges`) where it declares one.
    """
    bare, limit = parted(hint)
    if not fits(value, bare):
        entries = value if isinstance(value, (list, tuple)) and get_origin(bare) in (list, tuple) else ()
        wrong = next((entry for entry in entries if not fits(entry, get_args(bare)[0])), None)
        got = shown(value) if wrong is None else f"{shown(wrong)} in it"
        return f"must be {_named(bare)}; got {got}"
    found = limit_problem(value, limit)
    if found is None:
        return None
    other = ", or null" if NoneType in get_args(bare) else ""
    return f"{found[0]}{other}; got {shown(found[1])}"


def fits(value: Any, hint: Any) -> bool:
    """Tells whether a value is of an annotated type; a whole number is a float, as in YAML, and True is no number."""
    if hint is Any:
        return True
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in inner)
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in inner)
    if origin in (list, tuple):
        if not isinstance(value, (list, tuple)):
            return False
        is_fixed = origin is tuple and inner[-1] is not Ellipsis
        if is_fixed:
            return len(value) == len(inner) and all(map(fits, value, inner))
        return all(fits(one, inner[0]) for one in value)
    if origin is dict:
        return isinstance(value, dict)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return not isinstance(hint, type) or isinstance(value, hint)


def _named(hint: Any) -> str:
    """Returns a type as a user would write its values."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(_named(one) for one in inner)
    if origin is Literal:
        return "one of " + ", ".join(map(repr, inner))
    if origin in (list, tuple):
        return f"a {origin.__name__} of {_named(inner[0])}"
    names = {int: "a whole number", float: "a number", str: "text", bool: "True or False", NoneType: "None"}
    return names.get(hint, getattr(hint, "__name__", str(hint)))


def require_key(name: str, value: Any, hint: Any) -> None:
    """Makes sure that an argument is of an annotated type and within its limit.

    Raises:
        InputError: it is not.
    """
    problem = value_problem(value, hint)
    if problem is not None:
        raise InputError(f"{name} {problem}")


def require_kind(name: str, value: Any, *kinds: type, instead: str = "") -> None:
    """Makes sure that an argument is of one of these types.

    Args:
        name: what the caller knows it by.
        value: what came.
        kinds: what may come.
        instead: what to do, where that is not clear from the types.

    Raises:
        InputError: it is of none of them.
    """
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise InputError(f"{name} must be {wanted}; got {shown(value)}" + (f": {instead}" if instead else ""))


def as_path(name: str, value: Any) -> Path:
    """Returns a string or path as a path.

    Raises:
        InputError: it is neither.
    """
    if not isinstance(value, (str, os.PathLike)):
        raise InputError(f"{name} must be a path, as text or pathlib.Path; got {shown(value)}")
    text = os.fsdecode(value)
    problem = PATH.problem(text)
    if problem is not None:
        raise InputError(f"{name} {problem}; got {shown(text)}")
    return Path(text)


def as_folder(name: str, value: Any) -> Path:
    """Returns a string or path as the path of a folder that is there.

    Raises:
        InputError: it is no path, or there is no such folder.
    """
    path = as_path(name, value)
    if not path.is_dir():
        where = f"{path} is a file" if path.exists() else f"there is none at {path}"
        raise InputError(f"{name} must be a folder; {where}")
    return path


def require_columns(name: str, table: Any, columns: Iterable[str]) -> pd.DataFrame:
    """Returns a table that has these columns.

    Raises:
        InputError: it is no DataFrame, or lacks one of them.
    """
    import pandas as pd

    if not isinstance(table, pd.DataFrame):
        raise InputError(f"{name} must be a pandas DataFrame; got {shown(table)}")
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise InputError(f"{name} must have the columns {', '.join(columns)}; missing: {', '.join(missing)}")
    return table


def require_mapping(name: str, value: Any, of: str) -> None:
    """Makes sure that an argument is a non-empty mapping.

    Raises:
        InputError: it is none, or holds nothing.
    """
    if not isinstance(value, Mapping) or not value:
        raise InputError(f"{name} must be a mapping of {of}, at least one; got {shown(value)}")


def require_choice(name: str, value: Any, choices: Iterable[Any]) -> None:
    """Makes sure that an argument is one of these values.

    Raises:
        InputError: it is not.
    """
    known = list(choices)
    if value not in known:
        raise InputError(f"{name} must be one of {', '.join(map(str, known))}; got {value!r}")


def require_whole(name: str, value: Any, least: int) -> None:
    """Makes sure that an argument is a whole number of at least `least`.

    Raises:
        InputError: it is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InputError(f"{name} must be a whole number of at least {least}; got {shown(value)}")


def require_cutoffs(ks: Any) -> list[int]:
    """Returns cut-offs of a metric as a list.

    Raises:
        InputError: they are no list of whole numbers of at least 1, or there is none.
    """
    if not isinstance(ks, (list, tuple)) or not ks:
        raise InputError(f"ks must be a list of cut-offs, at least one; got {shown(ks)}")
    for k in ks:
        require_whole("ks", k, 1)
    return list(ks)


def require_parts(parts: Any, known: Iterable[str]) -> None:
    """Makes sure that an argument is a list of names of parts, at least one.

    Raises:
        InputError: it is none, or names something else.
    """
    if isinstance(parts, str) or not isinstance(parts, (list, tuple)) or not parts:
        raise InputError(f"parts must be a list of {' and '.join(known)}; got {shown(parts)}")
    for part in parts:
        require_choice("parts", part, known)


def writable_folder(name: str, value: Any) -> Path:
    """Returns a string or path as the path of a folder that is there or can be made.

    Raises:
        InputError: it is no path, lies at or below a file or at a link to nothing, or may not be written.
    """
    path = as_path(name, value)
    try:
        place = next(folder for folder in (path, *path.absolute().parents) if os.path.lexists(folder))
        if not place.exists():
            raise InputError(f"{name} must be a folder; {place} is a link to {os.readlink(place)}, which is not there")
        if not place.is_dir():
            within = "" if place == path else f", so {path} cannot lie below it"
            raise InputError(f"{name} must be a folder; {place} is a file{within}")
        if not os.access(place, os.W_OK | os.X_OK):
            raise PermissionError(EACCES, os.strerror(EACCES))
        if place != path:  # rights do not tell everything: nothing can be made in /proc
            os.rmdir(tempfile.mkdtemp(dir=place, prefix=".", suffix=".tmp"))
    except OSError as error:
        raise InputError(f"{name} must be a folder that can be written; {path}: {error.strerror}") from error
    return path


def shown(value: Any) -> str:
    """Returns a value where it is short, else its kind; control characters are escaped."""
    if isinstance(value, int) and abs(value) >= 10**50:
        return "a number of more than 50 digits"
    if value is None or (isinstance(value, (str, int, float)) and len(repr(value)) < 60):
        return repr(value)
    if isinstance(value, str):
        return f"a text of {len(value):,} letters"
    if isinstance(value, Mapping) and not value:
        return "an empty mapping"
    return f"a {type(value).__name__}"
