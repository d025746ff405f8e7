"""How numbers, amounts, selections and lists are written: the one wording of screens, reports and stored sentences.

Takes plain values, hands on text. Nothing is computed here that a reader could take for a result.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from html import escape

from layerprobe.errors import one_line

METRICS = {"hr": "HR", "ndcg": "NDCG", "mrr": "MRR"}
UNKNOWN = "-"
DURATIONS = ((86400, "days"), (3600, "h"), (60, "min"))
SIZES = ((2**40, "TiB"), (2**30, "GiB"))
MIB = 2**20


def metric_label(metric: str, k: int) -> str:
    """Returns a metric as people write it; mrr has no cut-off, and k is 0.

    >>> metric_label("ndcg", 10), metric_label("mrr", 0)
    ('NDCG@10', 'MRR')
    """
    name = METRICS.get(metric, metric)
    return f"{name}@{k}" if k else name


def four_digits(value: float | None) -> str:
    """Returns a metric or a difference with four digits; `-` where there is none.

    >>> four_digits(0.12345), four_digits(None)
    ('0.1235', '-')
    """
    return UNKNOWN if value is None or math.isnan(value) else f"{value:.4f}"


def signed(value: float, digits: int = 4) -> str:
    """Returns a difference with its sign; what rounds to zero has none.

    >>> signed(0.01), signed(-0.00001)
    ('+0.0100', '0.0000')
    """
    rounded = round(value, digits)
    return f"{rounded:+.{digits}f}" if rounded else f"{0.0:.{digits}f}"


def percent(share: float | None, digits: int = 1) -> str:
    """Returns a share in per cent with so many digits; `-` where there is none.

    >>> percent(-0.0123), percent(None)
    ('-1.2 %', '-')
    """
    return UNKNOWN if share is None or math.isnan(share) else f"{100 * share:.{digits}f} %"


def signed_percent(share: float) -> str:
    """Returns a share in per cent with one digit and its sign.

    >>> signed_percent(0.0123), signed_percent(-0.00001)
    ('+1.2 %', '0.0 %')
    """
    return f"{signed(100 * share, 1)} %"


def level(share: float) -> str:
    """Returns a share that somebody chose, such as a margin, without needless digits.

    >>> level(0.02), level(1 - 0.05)
    ('2 %', '95 %')
    """
    return f"{round(100 * share, 6):g} %"


def count(value: float | None) -> str:
    """Returns a whole number with thousands marked; `-` where there is none.

    >>> count(12101), count(None)
    ('12,101', '-')
    """
    return UNKNOWN if value is None or math.isnan(value) else f"{round(value):,}"


def interval(low: float, high: float) -> str:
    """Returns `[low, high]` with four digits.

    >>> interval(0.1, 0.2)
    '[0.1000, 0.2000]'
    """
    return f"[{four_digits(low)}, {four_digits(high)}]"


def duration(seconds: float) -> str:
    """Returns a time in the largest unit that it fills.

    >>> duration(0), duration(42.4), duration(150), duration(5400), duration(200_000)
    ('0 s', '42 s', '2.5 min', '1.5 h', '2.3 days')
    """
    for size, name in DURATIONS:
        if seconds >= size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.0f} s"


def about(seconds: float) -> str:
    """Returns an estimated time: no more digits than an estimate has, and never nothing.

    >>> about(0.3), about(42), about(840), about(11_500)
    ('1 s', '42 s', '14 min', '3.2 h')
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size(n_bytes: float) -> str:
    """Returns an amount of memory.

    >>> size(3 * 2**19), size(2**31), size(5 * 2**41)
    ('2 MiB', '2.0 GiB', '10.0 TiB')
    """
    for unit, name in SIZES:
        if n_bytes >= unit:
            return f"{n_bytes / unit:.1f} {name}"
    return f"{n_bytes / MIB:.0f} MiB"


def listed(names: Sequence[str]) -> str:
    """Returns names joined by commas and a last "and".

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def keeps_first(selection: str) -> bool:
    """Tells whether a selection is written `first:k`.

    >>> keeps_first("first:2"), keeps_first("last:2")
    (True, False)
    """
    return selection.startswith("first:")


def noun(selections: Iterable[str]) -> str:
    """Returns what one of these selections is called: a depth where all are written `first:k`, else a selection.

    >>> noun(["first:1", "first:2"]), noun(["first:1", "last:1"])
    ('depth', 'selection')
    """
    return "depth" if all(keeps_first(text) for text in selections) else "selection"


def layers(kept: Sequence[int]) -> str:
    """Returns layer indices with runs of three or more joined.

    >>> layers([0, 1, 2, 3, 6, 8, 9]), layers([])
    ('0-3, 6, 8, 9', 'none')
    """
    runs: list[list[int]] = []
    for layer in kept:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    parts = [f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]
    return ", ".join(parts) or "none"


def as_markdown(value: object) -> str:
    r"""Returns foreign text, such as a title or an id, so that Markdown shows it and does nothing else with it.

    >>> as_markdown("a_b <b>*x*</b> | [y](z)")
    'a_b &lt;b&gt;\\*x\\*&lt;/b&gt; &#124; \\[y\\](z)'
    """
    text = escape(one_line(value, most=None), quote=False).replace("|", "&#124;")
    text = re.sub(r"[\\`*\[\]~$]|(?<!\w)_|_(?!\w)", lambda match: f"\\{match[0]}", text)
    text = re.sub(r"^([-+=#])", r"\\\1", text)  # at the start it would begin a list, a heading or a rule
    return re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", text)


def as_code(value: object) -> str:
    """Returns foreign text as inline code; backticks in it do not end it.

    >>> as_code("a`b")
    '`` a`b ``'
    """
    text = one_line(value, most=None)
    if "`" not in text:
        return f"`{text}`"
    ends = fence(text, least=1)
    return f"{ends} {text} {ends}"


def fence(text: str, least: int = 3) -> str:
    """Returns backticks that no run of them inside a text ends.

    >>> fence("a ```` b"), fence("a")
    ('`````', '```')
    """
    return "`" * max([least, *(len(run) + 1 for run in re.findall("`+", text))])


def layer_count(depth: int | None) -> str:
    """Returns how many layers in words.

    >>> layer_count(1), layer_count(2)
    ('1 layer', '2 layers')
    """
    return "1 layer" if depth == 1 else f"{depth} layers"
