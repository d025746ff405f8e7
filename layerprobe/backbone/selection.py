"""`LayerSelection`: which layers of a backbone are kept, parsed from its text form.

Takes the text of a study or a flag, hands on the kept indices to `truncate`; the text also names the variant's folder.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from layerprobe import html
from layerprobe.arguments import require_key, require_kind, require_whole
from layerprobe.errors import InputError
from layerprobe.wording import layers as layer_runs

FORMS = "first:K last:K uniform:K ends:K every:N random:K@SEED keep:0,1,6,7 drop:4-6"
MEASURED = ("bi", "angular", "cka", "greedy")
MEASURED_FORMS = " ".join(f"{form}:K" for form in MEASURED)
Measured = Mapping[str, Sequence[Sequence[int]]]
"""Per measured form the layers that are kept at each depth 0..L, ascending (see `similarity.orders`)."""

_NUMBER = r"(?:0|[1-9][0-9]*)"
_SIGNED = rf"-?{_NUMBER}"
_COUNTED = re.compile(rf"(first|last|uniform|ends|every):({_SIGNED})")
_RANDOM = re.compile(rf"random:({_SIGNED})@({_NUMBER})")
_LISTED = re.compile(rf"(keep|drop):((?:{_NUMBER}(?:-{_NUMBER})?(?:,{_NUMBER}(?:-{_NUMBER})?)*)?)")
_MEASURED = re.compile(rf"({'|'.join(MEASURED)}):({_SIGNED})")


@dataclass(frozen=True)
class LayerSelection:
    """The layers kept of a backbone with `n_layers` layers.

    Raises:
        InputError: the layers are not strictly ascending indices in [0, n_layers).
    """

    layers: tuple[int, ...]
    """Kept layers, 0-based, strictly ascending; empty means depth 0: item vectors and head alone."""
    text: str
    """The form it was written in, for example `first:4`; also how it is printed."""
    n_layers: int
    """Layers of the backbone that `layers` refers to."""

    def __post_init__(self) -> None:
        _check_layers(self.layers, self.text, self.n_layers)

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        kept = f"{self.text}: {self.depth} of {self.n_layers} layers, {layer_runs(self.layers)}"
        return html.paragraph(kept) + html.layer_boxes(self.layers, self.n_layers)

    @property
    def depth(self) -> int:
        """Number of layers kept, 0 to n_layers."""
        return len(self.layers)

    @property
    def resolved(self) -> str:
        """The text, or `keep:...` for a measured form, which means nothing outside its study."""
        return f"keep:{','.join(map(str, self.layers))}" if _MEASURED.fullmatch(self.text) else self.text

    @property
    def folder(self) -> str:
        """The text as a folder name: `:` becomes `-`, other characters that a file system or shell may misread `_`."""
        return re.sub(r"[^A-Za-z0-9.-]", "_", self.text.replace(":", "-"))


def parse_selection(text: str, n_layers: int, measured: Measured | None = None) -> LayerSelection:
    """Resolves the text form of a selection for a backbone of L = `n_layers` layers.

    - `first:k`: layers 0 to k-1. `last:k`: layers L-k to L-1.
    - `every:n`: all but each n-th: layer i is dropped when (i + 1) is a multiple of n; 2 <= n <= L.
    - `uniform:k`: k layers evenly spaced from the first to the last: i (L-1) / (k-1) for i = 0 to k-1, halves rounded
      up; `uniform:1` keeps layer 0.
    - `ends:k`: the first ceil(k / 2) and the last floor(k / 2).
    - `random:k@seed`: k layers drawn without replacement; with the same seed a smaller k keeps a subset.
    - `keep:0,1,6-7`: the listed layers. `drop:4-6`, `drop:4,6`: all but the listed layers. Ranges include both ends.
    - `bi:k cka:k greedy:k`: the k layers that are removed last by block influence, by the drop of CKA, or one after
      the other by NDCG. `angular:k`: all but the run of L - k layers that changes the state's direction least.

    k runs from 0 (nothing kept, depth 0) to L. Lists must be strictly ascending and leave at least one layer.

    Args:
        text: the form, without spaces.
        n_layers: layers of the backbone.
        measured: the layers kept by the measured forms, as far as they have been measured.

    Raises:
        InputError: the text is none of the forms, k or n is out of range, a list names a layer twice, out of order or
            beyond the last one, or leaves nothing; or a measured form was not measured on this backbone.

    >>> parse_selection("uniform:3", 8).layers
    (0, 4, 7)
    >>> parse_selection("drop:4-6", 8).layers
    (0, 1, 2, 3, 7)
    >>> parse_selection("every:2", 5).layers
    (0, 2, 4)
    """
    require_kind("selection", text, str, instead="such as first:4")
    require_whole("n_layers", n_layers, 0)
    require_key("selection", text, str)
    if match := _COUNTED.fullmatch(text):
        layers = _counted(text, match[1], int(match[2]), n_layers)
    elif match := _RANDOM.fullmatch(text):
        layers = _drawn(_checked_depth(text, int(match[1]), n_layers), int(match[2]), n_layers)
    elif match := _LISTED.fullmatch(text):
        layers = _listed(text, match[1], match[2], n_layers)
    elif match := _MEASURED.fullmatch(text):
        layers = _measured(text, match[1], _checked_depth(text, int(match[2]), n_layers), n_layers, measured or {})
    else:
        raise InputError(f"selection {text!r} is not understood; the forms are: {FORMS} {MEASURED_FORMS}")
    return LayerSelection(layers, text, n_layers)


def _counted(text: str, form: str, number: int, n_layers: int) -> tuple[int, ...]:
    if form == "every":
        if not 2 <= number <= n_layers:
            raise InputError(f"selection {text!r}: every:N drops each N-th layer, N from 2 to {n_layers}; got {number}")
        return tuple(layer for layer in range(n_layers) if (layer + 1) % number)
    return _KEPT[form](_checked_depth(text, number, n_layers), n_layers)


def _checked_depth(text: str, depth: int, n_layers: int) -> int:
    if not 0 <= depth <= n_layers:
        raise InputError(f"selection {text!r}: depth must lie in 0 to {n_layers}, the backbone's layers; got {depth}")
    return depth


def _first(depth: int, _n_layers: int) -> tuple[int, ...]:
    return tuple(range(depth))


def _last(depth: int, n_layers: int) -> tuple[int, ...]:
    return tuple(range(n_layers - depth, n_layers))


def _uniform(depth: int, n_layers: int) -> tuple[int, ...]:
    steps = max(depth - 1, 1)
    # i (L-1) / (k-1) + 1/2, rounded down in whole numbers: floats could round a half either way.
    return tuple((2 * i * (n_layers - 1) + steps) // (2 * steps) for i in range(depth))


def _ends(depth: int, n_layers: int) -> tuple[int, ...]:
    return _first((depth + 1) // 2, n_layers) + _last(depth // 2, n_layers)


_KEPT: dict[str, Callable[[int, int], tuple[int, ...]]] = {
    "first": _first,
    "last": _last,
    "uniform": _uniform,
    "ends": _ends,
}


def measured_form(text: str, n_layers: int) -> tuple[str, int] | None:
    """Returns form and depth of a measured selection, and None for a text of another form.

    Raises:
        InputError: its depth lies outside 0..L.

    >>> measured_form("bi:2", 4), measured_form("first:2", 4)
    (('bi', 2), None)
    """
    match = _MEASURED.fullmatch(text)
    return None if match is None else (match[1], _checked_depth(text, int(match[2]), n_layers))


def _measured(text: str, form: str, depth: int, n_layers: int, measured: Measured) -> tuple[int, ...]:
    if form not in measured:
        raise InputError(
            f"selection {text!r} needs the measured importance of a teacher's layers; measured here: "
            f"{', '.join(measured) or 'nothing'}; name it in a study's probe.selections or distill.selection, which "
            f"come after the measurement, or use one of: {FORMS}"
        )
    kept = measured[form]
    if len(kept) != n_layers + 1 or len(kept[depth]) != depth:
        raise InputError(f"{form} was measured on {len(kept) - 1} layers; {text!r} is used for {n_layers}")
    return tuple(kept[depth])


def _drawn(depth: int, seed: int, n_layers: int) -> tuple[int, ...]:
    # random.Random(seed).random() is the one stream whose values Python promises to keep across versions.
    stream = random.Random(seed)
    keys = [stream.random() for _ in range(n_layers)]  # smallest keys are kept, so a smaller k keeps a subset
    return tuple(sorted(sorted(range(n_layers), key=keys.__getitem__)[:depth]))


def _listed(text: str, form: str, names: str, n_layers: int) -> tuple[int, ...]:
    spans = [[int(end) for end in name.split("-")] for name in names.split(",") if name]
    _check_layers(tuple(end for span in spans for end in span), text, n_layers)
    named = [layer for span in spans for layer in range(span[0], span[-1] + 1)]
    if form == "drop" and not named:
        raise InputError(f"selection {text!r} drops no layer; use first:{n_layers} for the full backbone")
    layers = named if form == "keep" else sorted(set(range(n_layers)) - set(named))
    if not layers:
        raise InputError(f"selection {text!r} keeps no layer; use first:0 for depth 0")
    return tuple(layers)


def _check_layers(layers: tuple[int, ...], text: str, n_layers: int) -> None:
    beyond = [layer for layer in layers if not 0 <= layer < n_layers]
    if beyond:
        raise InputError(
            f"selection {text!r}: a backbone of {n_layers} layers has layers 0 to {n_layers - 1}; got {beyond[0]}"
        )
    if any(left >= right for left, right in zip(layers, layers[1:], strict=False)):
        raise InputError(
            f"selection {text!r}: layers must be strictly ascending, each named once; got {','.join(map(str, layers))}"
        )
