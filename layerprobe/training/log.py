"""`log.jsonl`, one JSON object per line, and the progress a person sees."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from layerprobe import processes
from layerprobe.store.atomic import disk_full_said, write_text
from layerprobe.store.layout import LOG

LINE_SECONDS = 15.0
T = TypeVar("T")


class TrainingLog:
    """Appends rows to `log.jsonl`; on resume the rows after the saved point are cut off, so none is there twice."""

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


def say(text: str) -> None:
    """Prints one line of progress to standard error, above any progress bar; the main process alone speaks."""
    if not processes.is_main():
        return
    tqdm.write(text, file=sys.stderr)
    sys.stderr.flush()


def shown(items: Iterable[T], total: int, label: str, start: int = 0) -> Iterator[T]:
    """Yields `items` with a bar on a terminal, or a line every 15 seconds in a log."""
    if not processes.is_main():
        yield from items
        return
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, initial=start, desc=label, leave=False)
        return
    last = time.monotonic()
    for count, item in enumerate(items, start + 1):
        yield item
        if time.monotonic() - last > LINE_SECONDS:
            last = time.monotonic()
            say(f"{label}: {count} of {total}")


def quiet_libraries() -> None:
    """Silences progress bars and notes of libraries; errors still show."""
    import warnings

    import transformers

    # peft asks transformers models for a property that transformers 5 renamed
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
