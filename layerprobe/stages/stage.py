"""`Stage`: one step of a study, as plain values. Its computation is in a module of its own."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerprobe.store.layout import StudyLayout

if TYPE_CHECKING:
    from layerprobe.stages.planned import Planned
    from layerprobe.study.study import Study
    from layerprobe.sweep.sweep import Executor


@dataclass(frozen=True)
class Stage:
    """One step of a study.

    The module has a function `run(study)`, or `run(study, executor)`, and `plan(study)` where models are trained. It
    is imported when it is needed, so that the list of stages imports no heavy library.

    Attributes:
        name: name of the command, of progress lines and of `reads`.
        help: what it does, for `--help`: "run one stage: ...".
        module: the module with its functions.
        reads: stages whose files it reads; they run before it.
        renews: stages whose files depend on it; they run after it.
        writes: properties of `StudyLayout` with its files that no `done.json` records; their hashes are written after
            it.
        on_main: whether the main process of a launch does it alone, while the others wait.
        in_sweep: whether it trains models that an executor may train elsewhere.
    """

    name: str
    help: str
    module: str
    reads: tuple[str, ...] = ()
    renews: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    on_main: bool = False
    in_sweep: bool = False

    def run(self, study: Study, executor: Executor) -> None:
        """Brings the stage up to date: what is done is skipped, what was interrupted is resumed."""
        run = self._functions().run
        run(study, executor) if self.in_sweep else run(study)

    def tables(self, layout: StudyLayout) -> list[Path]:
        """Returns its files that no `done.json` records, there or not."""
        found = [getattr(layout, name) for name in self.writes]
        return [path for entry in found for path in (entry if isinstance(entry, list) else [entry])]

    def plan(self, study: Study) -> list[Planned]:
        """Returns the models it trains, for the dry run; nothing where it trains none."""
        plan = getattr(self._functions(), "plan", None)
        return [] if plan is None else plan(study)

    def _functions(self) -> Any:
        return import_module(self.module)
