"""The selections of a study: parsed, each set of layers once, in order.

Takes text forms, hands on `LayerSelection`s, the keys of everything that is trained, ranked and decided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from layerprobe.backbone.selection import LayerSelection, Measured, measured_form, parse_selection
from layerprobe.errors import InputError

ALL = "all"
Numbers: TypeAlias = "list[str | int] | int | str"
Asked: TypeAlias = "Sequence[str | int] | Mapping[str, Numbers] | str | None"
"""`probe.selections` of a study: texts, numbers by form, or `all`."""


@dataclass(frozen=True)
class Family:
    """The distinct selections of a study.

    The name means a set of selections. Everywhere else "family" means a model family, such as llama.

    Attributes:
        selections: by depth, then in the order given; no two keep the same layers.
        merged: texts that keep the layers of an earlier text, as (text, earlier text).
        pending: texts whose layers are not measured yet, such as `bi:2`, each with its depth.
    """

    selections: tuple[LayerSelection, ...]
    merged: tuple[tuple[str, str], ...]
    pending: tuple[tuple[str, int], ...] = ()

    @property
    def merged_line(self) -> str | None:
        """One line that names the texts that run under another text's name; None where there are none."""
        if not self.merged:
            return None
        pairs = ", ".join(f"{text} as {earlier}" for text, earlier in self.merged)
        return f"selections that keep the same layers run once: {pairs}"


def distinct_selections(texts: Sequence[str], n_layers: int, measured: Measured | None = None) -> Family:
    """Parses the texts; of those that keep the same layers the first is used.

    Args:
        texts: text forms; one given twice counts once.
        n_layers: layers of the backbone.
        measured: the layers kept by the measured forms, as far as they have been measured; the others are pending.

    Raises:
        InputError: a text does not parse or does not fit the backbone.

    >>> family = distinct_selections(["keep:0,3", "first:2", "ends:2"], 4)
    >>> [selection.text for selection in family.selections], family.merged
    (['keep:0,3', 'first:2'], (('ends:2', 'keep:0,3'),))
    """
    measured = measured or {}
    forms = {text: measured_form(text, n_layers) for text in dict.fromkeys(texts)}
    waiting = tuple((text, form[1]) for text, form in forms.items() if form is not None and form[0] not in measured)
    known = [text for text in forms if text not in dict(waiting)]
    parsed = [parse_selection(text, n_layers, measured) for text in known]
    first: dict[tuple[int, ...], LayerSelection] = {}
    for selection in parsed:
        first.setdefault(selection.layers, selection)
    merged = [
        (selection.text, first[selection.layers].text)
        for selection in parsed
        if first[selection.layers] is not selection
    ]
    return Family(tuple(sorted(first.values(), key=lambda selection: selection.depth)), tuple(merged), waiting)


def study_family(depths: Sequence[int] | str | None, asked: Asked, n_layers: int, measured: Measured) -> Family:
    """Returns the selections that a study asks for; a text that keeps all layers is the teacher, `first:L`.

    Args:
        depths: `probe.depths`: numbers k that mean `first:k`, `all`, or None, which means all where nothing is asked.
        asked: `probe.selections`.
        n_layers: layers of the backbone.
        measured: layers kept by the measured forms, as far as they have been measured.

    Raises:
        InputError: a depth lies outside 0..L, or a selection does not parse or fit.

    >>> [selection.text for selection in study_family([1], ["last:2"], 3, {}).selections]
    ['first:1', 'last:2', 'first:3']
    """
    return distinct_selections(asked_selections(depths, asked, n_layers), n_layers, measured)


def asked_depths(depths: Sequence[int] | str | None, asked: Asked, n_layers: int) -> list[int]:
    """Returns the depths k that a study asks for as `first:k`, the full model's first.

    Args:
        depths: as for `study_family`.
        asked: as for `study_family`.
        n_layers: layers of the backbone.

    Raises:
        InputError: a depth lies outside 0..L.
    """
    numbers = range(n_layers + 1) if depths == ALL or (depths is None and asked is None) else depths or []
    wrong = [depth for depth in numbers if not 0 <= int(depth) <= n_layers]
    if wrong:
        raise InputError(f"probe.depths must lie in 0..{n_layers}, the teacher's depth; got {wrong[0]}")
    return [n_layers, *map(int, numbers)]


def asked_selections(depths: Sequence[int] | str | None, asked: Asked, n_layers: int) -> tuple[str, ...]:
    """Returns the selections that a study asks for, measured yet or not; the full model first.

    Args:
        depths: as for `study_family`.
        asked: as for `study_family`.
        n_layers: layers of the backbone.
    """
    texts = [text for one in selection_texts(asked) for text in every_number(one, n_layers)]
    return tuple(dict.fromkeys([*(f"first:{depth}" for depth in asked_depths(depths, asked, n_layers)), *texts]))


def selection_texts(asked: Asked) -> list[str]:
    """Returns what `probe.selections` asks for as text forms, `form:all` where every number is meant.

    >>> selection_texts({"first": [1, 2], "last": "all"}), selection_texts("all"), selection_texts(None)
    (['first:1', 'first:2', 'last:all'], ['first:all'], [])
    """
    if asked is None:
        return []
    if isinstance(asked, str):
        return [f"first:{ALL}"]
    if isinstance(asked, Mapping):
        lists = {form: numbers if isinstance(numbers, list) else [numbers] for form, numbers in asked.items()}
        return [f"{form}:{number}" for form, numbers in lists.items() for number in numbers]
    return [str(text) for text in asked]


def every_number(text: str, n_layers: int) -> list[str]:
    """Returns the selections that `form:all` or `random:all@seed` means: those below the full model.

    Depth 0 is the same in every form, so only `first` includes it. A text without `all` is returned as it is.

    Raises:
        InputError: the form takes lists of layers.

    >>> every_number("first:all", 3), every_number("last:all", 3), every_number("random:all@7", 3)
    (['first:0', 'first:1', 'first:2'], ['last:1', 'last:2'], ['random:1@7', 'random:2@7'])
    >>> every_number("every:all", 4), every_number("bi:2", 4)
    (['every:2', 'every:3', 'every:4'], ['bi:2'])
    """
    form, colon, number = text.partition(":")
    count, at, seed = number.partition("@")
    if count != "all":
        return [text]
    if form in ("keep", "drop"):
        raise InputError(
            f"selection {text!r}: {form} takes a list of layers, such as {form}:0,1; for every depth write first:all"
        )
    low, high = {"first": (0, n_layers - 1), "every": (2, n_layers)}.get(form, (1, n_layers - 1))
    return [f"{form}:{k}{at}{seed}" for k in range(low, high + 1)]
