"""`log.jsonl`, one JSON object per line, and the progress a person sees."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from tqdm.auto import tqdm

from layerprobe import processes
from layerprobe.store.atomic import disk_full_said, write_text
from layerprobe.store.layout import LOG

VALID = "valid_ndcg@10"
"""Name of the validation value in the row of an epoch; epoch 0 is the untrained model."""
LINE_SECONDS = 15.0
WIDGET_SECONDS = 1.0
HAS_WIDGETS = find_spec("ipywidgets") is not None
T = TypeVar("T")


class TrainingLog:
    """Appends rows to `log.jsonl`; on resume, rows after the saved point are removed, so no row appears twice."""

    def __init__(self, folder: Path, keep_rows: int = 0) -> None:
        self.path = folder / LOG
        self.rows = keep_rows
        if processes.is_main():
            lines = self.path.read_text(encoding="utf-8").splitlines()[:keep_rows] if self.path.exists() else []
            write_text(self.path, "".join(f"{line}\n" for line in lines))
            self.rows = len(lines)

    def write(self, row: dict[str, Any]) -> None:
        """Appends one row; floats keep six significant digits."""
        self.rows += 1
        if not processes.is_main():
            return
        rounded = {name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in row.items()}
        with disk_full_said(self.path), self.path.open("a", encoding="utf-8") as opened:
            opened.write(json.dumps(rounded) + "\n")


def in_notebook() -> bool:
    """Tells whether this process is the kernel of a notebook."""
    module = sys.modules.get("IPython")  # loaded in every kernel; not imported here, since it need not be installed
    shell = None if module is None else module.get_ipython()
    return shell is not None and "IPKernelApp" in shell.config


def say(text: str) -> None:
    """Prints one line of progress, above any progress bar; only the main process prints.

    It goes to standard error. In a notebook it goes to standard output, since standard error is shown in red there.
    """
    if not processes.is_main():
        return
    stream = sys.stdout if in_notebook() else sys.stderr
    tqdm.write(text, file=stream)
    stream.flush()


def shown(items: Iterable[T], total: int, label: str, start: int = 0) -> Iterator[T]:
    """Yields `items` with a progress bar on a terminal or in a notebook, or with a line every 15 seconds in a log.

    A notebook without ipywidgets gets lines too: a bar of characters would be written to standard error, in red.
    """
    if not processes.is_main():
        yield from items
        return
    widgets = in_notebook()
    if HAS_WIDGETS if widgets else sys.stderr.isatty():
        # A widget stays in the saved notebook, so steps that end within a second get none.
        delay = WIDGET_SECONDS if widgets else 0
        yield from tqdm(items, total=total, initial=start, desc=label, leave=False, delay=delay)
        return
    last = time.monotonic()
    for count, item in enumerate(items, start + 1):
        yield item
        if time.monotonic() - last > LINE_SECONDS:
            last = time.monotonic()
            say(f"{label}: {count} of {total}")


def quiet_libraries() -> None:
    """Silences progress bars and notes of libraries for the rest of the process, as commands do; errors still show."""
    from layerprobe.backbone.quiet import silence

    silence()
