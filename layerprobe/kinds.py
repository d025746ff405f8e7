"""The kinds of points on a curve: what tables call them, what people call them, and what part they play.

One list for those who rank, decide, tabulate and draw. A new floor is one class in `recommender/baselines.py` and its
line here; it is then ranked, drawn on every curve and compared in the decision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["variant", "control", "student", "exit", "floor"]


@dataclass(frozen=True)
class Kind:
    """One kind of point.

    Attributes:
        name: value of the column `kind`.
        label: what figures and tables call it.
        role: `variant` is fine-tuned with its layers, `control` is its twin, `student` is distilled, `exit` is the
            teacher read early, `floor` is a baseline that a recommender must beat.
        scorer: class in `recommender/baselines.py` that scores it; None where a model is trained for it.
    """

    name: str
    label: str
    role: Role
    scorer: str | None = None


KINDS = (
    Kind("variant", "fine-tuned", "variant"),
    Kind("random-init", "random initialisation", "control"),
    Kind("distilled", "distilled student", "student"),
    Kind("exit-probe", "exit, probed", "exit"),
    Kind("exit-norm", "exit, normed", "exit"),
    Kind("exit-raw", "exit, raw", "exit"),
    Kind("sasrec", "SASRec", "floor"),
    Kind("tfidf", "TF-IDF", "floor", scorer="TfIdf"),
    Kind("markov-1-past", "Markov-1 (past)", "floor", scorer="PastMarkov1"),
    Kind("markov-1", "Markov-1", "floor", scorer="Markov1"),
    Kind("popularity", "popularity", "floor", scorer="Popularity"),
)
"""In the order in which tables show them."""


def names_of(*roles: Role) -> tuple[str, ...]:
    """Returns the names of all kinds with one of these roles, in the order of `KINDS`.

    >>> names_of("exit")
    ('exit-probe', 'exit-norm', 'exit-raw')
    """
    return tuple(kind.name for kind in KINDS if kind.role in roles)


def label_of(name: str) -> str:
    """Returns what people call a kind; one that is not known here, of another version, keeps its name.

    >>> label_of("sasrec"), label_of("somebody-elses")
    ('SASRec', 'somebody-elses')
    """
    return next((kind.label for kind in KINDS if kind.name == name), name)


VARIANT, STUDENT, SASREC = "variant", "distilled", "sasrec"
CONTROLS, EXITS, FLOORS = names_of("control"), names_of("exit"), names_of("floor")
SCORED_FLOORS = tuple(kind for kind in reversed(KINDS) if kind.scorer is not None)
"""Floors without training, the simplest first: the order in which they are ranked and written."""
