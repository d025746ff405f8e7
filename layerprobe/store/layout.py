"""Where the files of a study are: every folder and file name once, for the code that writes them and that reads them.

Takes the study's folder, hands on paths. Nothing here reads a file, and nothing needs torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SPEC = "spec.yaml"
CHECKPOINT = "checkpoint"
MODEL = "model.safetensors"
WEIGHTS = f"{CHECKPOINT}/{MODEL}"
LOG = "log.jsonl"
RANKS = "ranks.parquet"
METRICS = "metrics.json"
FAILED, HALTED, REPLACED = "failed.json", "halted.json", "replaced.json"
"""Files of a model folder: one model trained, ranked and described."""

INTERACTIONS, ITEMS, SEQUENCES = "interactions.parquet", "items.parquet", "sequences.safetensors"
SPLIT, FACTS = "split.json", "facts.json"
"""Files of a data folder."""

ITEM_TABLE = "item_table.safetensors"
HEADS = "probe_heads.safetensors"
REPORT = "report.md"
FIGURES = "figures"

DATA = "data"
_ITEMS, _BASELINES, _TEACHER, _VARIANTS, _CONTROLS = "items", "baselines", "teacher", "variants", "controls"
_DISTILLATION = "distillation"


def seed_folder(seed: int) -> str:
    """Returns the name of the folder of one training seed."""
    return f"seed-{seed}"


@dataclass(frozen=True)
class StudyLayout:
    """The paths of one study.

    Attributes:
        folder: the study's folder.
    """

    folder: Path

    @property
    def spec(self) -> Path:
        """Every option of the study."""
        return self.folder / "study.yaml"

    @property
    def provenance(self) -> Path:
        """Versions, commit, machine and seeds."""
        return self.folder / "provenance.json"

    @property
    def tables_record(self) -> Path:
        """Hashes of the files that lie in no folder with a `done.json`."""
        return self.folder / "files.json"

    @property
    def checked(self) -> Path:
        """Which files were read and hashed, with their sizes and times, so that they need not be read again."""
        return self.folder / "checked.json"

    @property
    def data(self) -> Path:
        """The prepared log."""
        return self.folder / DATA

    @property
    def facts(self) -> Path:
        """Counts and order audit of the log."""
        return self.data / FACTS

    @property
    def split(self) -> Path:
        """The rule of the split, and the hash of the sequences."""
        return self.data / SPLIT

    @property
    def items(self) -> Path:
        """Model folder of SASRec's first seed, with the item table."""
        return self.folder / _ITEMS

    @property
    def baselines(self) -> Path:
        """Ranks of the floors that need no training."""
        return self.folder / _BASELINES

    def baseline_ranks(self, name: str) -> Path:
        """Ranks of one of them."""
        return self.baselines / f"ranks-{name}.parquet"

    @property
    def teacher(self) -> Path:
        """Model folder of the teacher."""
        return self.folder / _TEACHER

    def variant(self, selection: str, seed: int) -> Path:
        """Model folder of a variant; `selection` is its name as a folder."""
        return self.folder / _VARIANTS / selection / seed_folder(seed)

    def control(self, arm: str, selection: str, seed: int) -> Path:
        """Model folder of a variant's twin in a control arm."""
        return self.folder / _CONTROLS / arm / selection / seed_folder(seed)

    @property
    def distillation(self) -> Path:
        """Model folders of students, by name."""
        return self.folder / _DISTILLATION

    @property
    def exits(self) -> Path:
        """Ranks of the teacher read after each layer, and the heads fitted there."""
        return self.folder / "exits"

    def exit_ranks(self, kind: str, k: int) -> Path:
        """Ranks of one exit."""
        return self.exits / f"ranks-{kind}-{k}.parquet"

    @property
    def similarity(self) -> Path:
        """What the teacher's layers do."""
        return self.folder / "similarity"

    @property
    def similarity_table(self) -> Path:
        """Every pair of states by every measure."""
        return self.similarity / "similarity.parquet"

    @property
    def null(self) -> Path:
        """Values of the measures on shuffled rows: chance."""
        return self.similarity / "null.csv"

    @property
    def states(self) -> Path:
        """What can mislead a measure, per state."""
        return self.similarity / "states.csv"

    @property
    def importance(self) -> Path:
        """Scores of single layers."""
        return self.similarity / "importance.csv"

    @property
    def blocks(self) -> Path:
        """Scores of runs of layers."""
        return self.similarity / "blocks.csv"

    @property
    def selections(self) -> Path:
        """The layers that each score would keep."""
        return self.similarity / "selections.json"

    @property
    def greedy(self) -> Path:
        """The order of greedy removal."""
        return self.similarity / "greedy.csv"

    def cuts(self, rows: int, seed: int) -> Path:
        """Quality of the teacher cut to sets of layers, on a sample of users."""
        return self.similarity / f"cuts-{rows}-{seed}.parquet"

    @property
    def every_cut(self) -> list[Path]:
        """Looks for all such files, of any sample."""
        return sorted(self.similarity.glob("cuts-*.parquet"))

    @property
    def student_similarity(self) -> Path:
        """States of the teacher against those of the student."""
        return self.similarity / "student.parquet"

    @property
    def student_similarity_facts(self) -> Path:
        """Which student that table is about."""
        return self.similarity / "student.json"

    @property
    def layer_report(self) -> Path:
        """The page on layers alone."""
        return self.similarity / "report"

    @property
    def costs(self) -> Path:
        """What each model costs on one machine."""
        return self.folder / "costs"

    @property
    def cost_table(self) -> Path:
        """Costs, one row per model."""
        return self.costs / "costs.csv"

    @property
    def cost_facts(self) -> Path:
        """Where and how they were measured."""
        return self.costs / "costs.json"

    @property
    def front(self) -> Path:
        """Which models are on the Pareto front."""
        return self.costs / "front.csv"

    @property
    def curve(self) -> Path:
        """Every point of every curve."""
        return self.folder / "curve.csv"

    @property
    def convergence(self) -> Path:
        """How every training ended."""
        return self.folder / "convergence.csv"

    @property
    def slices(self) -> Path:
        """Models by groups of users."""
        return self.folder / "slices.csv"

    @property
    def slice_differences(self) -> Path:
        """Models against the full one, by groups of users."""
        return self.folder / "slice_differences.csv"

    @property
    def decision(self) -> Path:
        """The answer."""
        return self.folder / "decision.json"

    @property
    def robustness(self) -> Path:
        """The answer under every metric and cut-off."""
        return self.folder / "robustness.csv"

    @property
    def ledger(self) -> Path:
        """Every decision taken on these users, in order."""
        return self.folder / "decisions.jsonl"

    @property
    def control_comparison(self) -> Path:
        """Variants against their twins."""
        return self.folder / "controls.json"

    @property
    def distilled(self) -> Path:
        """The student against plain fine-tuning."""
        return self.folder / "distilled.json"

    @property
    def predictiveness(self) -> Path:
        """How well each score orders the variants."""
        return self.folder / "predictiveness.csv"

    @property
    def predicted(self) -> Path:
        """The points behind it."""
        return self.folder / "predicted.csv"

    @property
    def student(self) -> Path:
        """The deployable student."""
        return self.folder / "student"

    @property
    def report(self) -> Path:
        """The report and its figures."""
        return self.folder / "report"

    @property
    def packed(self) -> Path:
        """In a published folder the ranks of all models, one file per part."""
        return self.folder / "ranks"

    @property
    def packed_record(self) -> Path:
        """Which models and parts they hold, and which did not travel."""
        return self.packed / "packed.json"

    def packed_part(self, split: str, protocol: str) -> Path:
        """Ranks of all models in one part."""
        return self.packed / f"{split}-{protocol}.parquet"

    @property
    def manifest(self) -> Path:
        """Hashes of all files of a published folder; no other folder has it."""
        return self.folder / "manifest.json"

    @property
    def drawn(self) -> Path:
        """Folder of `report.md`: a published folder itself, else `report/`."""
        return self.folder if self.manifest.exists() else self.report

    @property
    def tracking(self) -> Path:
        """Files of trackers."""
        return self.folder / "tracking"

    def learning_rates(self, model: str) -> Path:
        """The learning-rate test of one model."""
        return self.folder / "lr" / model

    def rates_tried(self, model: str) -> Path:
        """Its table: one row per learning rate."""
        return self.learning_rates(model) / "range.csv"

    @property
    def trained(self) -> tuple[Path, ...]:
        """The folders whose models depend on the recipe `training`."""
        return (self.teacher, self.folder / _VARIANTS, self.folder / _CONTROLS, self.distillation)

    def described_models(self) -> list[Path]:
        """Looks for `metrics.json` of students, teacher and variants, in that order."""
        places = (f"{_DISTILLATION}/*", _TEACHER, f"{_VARIANTS}/*/seed-*")
        return [path for place in places for path in sorted(self.folder.glob(f"{place}/{METRICS}"))]


def student_folders(folder: Path) -> list[Path]:
    """Returns the folders of the students below `distillation/`, by name."""
    return sorted(folder.iterdir()) if folder.is_dir() else []
