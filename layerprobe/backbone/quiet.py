"""Keeps the libraries that models come from quiet: transformers, huggingface_hub, peft.

Their progress bars, notes and deprecation warnings say nothing a user of layerprobe can act on: missing or misfitting
weights are errors here. The commands silence them for the whole process. Elsewhere, as in a notebook, the process is
not ours, so they are silenced only while we load, build or save a model, and the user's settings are put back after.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import huggingface_hub.utils as hub
from transformers.utils import logging


def silence() -> None:
    """Silences the libraries for the rest of the process; errors still show."""
    _ignore_warnings()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the hub's bars cannot be switched where an environment variable forces them
        logging.disable_progress_bar()
    logging.set_verbosity_error()
    hub.logging.set_verbosity_error()


@contextmanager
def quiet() -> Iterator[None]:
    """Silences the libraries within a block, or a function that it decorates; errors still show."""
    verbosity, hub_verbosity = logging.get_verbosity(), hub.logging.get_verbosity()
    had_bars, hub_had_bars = logging.is_progress_bar_enabled(), not hub.are_progress_bars_disabled()
    with warnings.catch_warnings():
        silence()
        try:
            yield
        finally:
            warnings.simplefilter("ignore")
            logging.set_verbosity(verbosity)
            hub.logging.set_verbosity(hub_verbosity)
            if had_bars:
                logging.enable_progress_bar()  # the hub's as well
            if hub_had_bars:
                hub.enable_progress_bars()
            else:
                hub.disable_progress_bars()


def _ignore_warnings() -> None:
    # peft asks transformers models for a property that transformers 5 renamed
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
