"""Writes a small study folder whose numbers are made up but hang together: every file a report reads, without torch.

A user has a difficulty that all models share, so paired differences are narrower than single values, as in real runs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from fake_scores import ScoreShape, write_fake_scores

from layerprobe import columns
from layerprobe.backbone.selection import LayerSelection, parse_selection
from layerprobe.evaluation.metrics import metric_table
from layerprobe.evaluation.slice_differences import SlicedModel, slice_differences
from layerprobe.evaluation.slices import slice_cuts, slice_rows
from layerprobe.probing.budget import BudgetOptions, pick_within
from layerprobe.probing.controls import compare_control
from layerprobe.probing.curves import CurvePoint, curve_rows
from layerprobe.probing.decide import decide
from layerprobe.probing.decision_options import DecisionOptions
from layerprobe.probing.distilled import compare_distilled
from layerprobe.probing.pareto import front_rows
from layerprobe.probing.verdicts.robustness import robustness
from layerprobe.store.atomic import read_json, write_csv, write_json, write_parquet, write_yaml
from layerprobe.store.controls import ControlsRecord, write_controls
from layerprobe.store.decision import DecisionRecord, write_decision
from layerprobe.store.distilled import write_distilled

N_ITEMS = 1500
N_NEGATIVES = 999
KS = [1, 5, 10, 20]
SLICED = ("variant", "distilled", "sasrec", "tfidf", "markov-1", "popularity")
SLICED_METRICS = (("ndcg", 10), ("hr", 10))
ALPHA = 0.05
N_BOOT = 200
WIDTH, TABLE_WIDTH = 64, 32
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True)
class FakeShape:
    """What the made-up study looks like."""

    n_layers: int = 4
    n_users: int = 400
    seeds: tuple[int, ...] = (0,)
    selections: tuple[str, ...] = ()
    """Variants beside `first:k`; they are in the decision too."""
    has_controls: bool = False
    """Whether every variant with layers has a twin of random weights."""
    has_times: bool = False
    """Whether users were away for different times, in seconds."""
    has_titles: bool = True
    measures: tuple[str, ...] = ("cka", "cosine")
    """Measures of similarity."""
    budget: BudgetOptions | None = None


class FakeStudy:
    """Writes the parts of a study folder one by one."""

    def __init__(self, folder: Path, shape: FakeShape) -> None:
        self.folder, self.shape = folder, shape
        generator = np.random.default_rng(0)
        self.difficulty = generator.normal(size=shape.n_users)
        self.targets = generator.integers(1, N_ITEMS + 1, size=(2, shape.n_users))
        self.lengths = generator.integers(3, 40, size=shape.n_users)
        self.popularity = generator.integers(0, 40, size=shape.n_users)
        self.curve: list[pd.DataFrame] = []
        self.endings: list[dict[str, object]] = []
        self.gaps = np.random.default_rng(1).exponential(100_000, size=shape.n_users).astype(np.int64)
        self.slices: list[pd.DataFrame] = []
        self.sliced: dict[tuple[str, str], SlicedModel] = {}
        self.variants: dict[LayerSelection, list[pd.DataFrame]] = {}
        self.twins: dict[LayerSelection, list[pd.DataFrame]] = {}
        self.floors: dict[str, pd.DataFrame] = {}

    def write(self) -> Path:
        """Writes everything and returns the folder."""
        self._data()
        self._floors()
        self._variants()
        if self.shape.has_controls:
            self._controls()
        self._exits()
        self._student()
        self._scores()
        write_csv(self.folder / "curve.csv", pd.concat(self.curve, ignore_index=True)[list(columns.CURVE)])
        endings = pd.DataFrame(self.endings).astype({columns.DEPTH: "Int64"})
        write_csv(self.folder / "convergence.csv", endings[list(columns.CONVERGENCE)])
        slices = pd.concat([rows.astype({columns.DEPTH: "Int64"}) for rows in self.slices], ignore_index=True)
        write_csv(self.folder / "slices.csv", slices[list(columns.SLICES)])
        write_csv(self.folder / "slice_differences.csv", self._differences())
        options = DecisionOptions(n_boot=N_BOOT)
        self._decision(decide(self.variants, self.floors, options).record())
        write_csv(self.folder / "robustness.csv", robustness(self.variants, self.floors, options, KS))
        if self.shape.has_controls:
            pairs = {each: (self.variants[each], twins) for each, twins in self.twins.items()}
            arm = compare_control("random-init", pairs, options).record()
            write_controls(self.folder, ControlsRecord(controls=(arm,)))
        self._state()
        return self.folder

    def _decision(self, decision: DecisionRecord) -> None:
        """Writes `decision.json` and the files of `costs/`."""
        costs = self._costs()
        write_csv(self.folder / "costs" / "costs.csv", costs)
        write_csv(self.folder / "costs" / "front.csv", front_rows(costs, decision))
        facts = {"device": "cpu", "threads": 2, "calls": {"1": 100, "64": 30}, "rounds": 3}
        write_json(self.folder / "costs" / "costs.json", facts)
        asked = self.shape.budget
        valid = {row.selection: row.value for row in decision.depths}
        pick = None if asked is None else pick_within(asked, decision, costs, valid).record()
        write_decision(self.folder, replace(decision, budget=pick))

    def _costs(self) -> pd.DataFrame:
        """What the models of the folder cost: the deeper, the more."""
        places = ["teacher", "items", *(f"variants/{each.folder}/seed-0" for each in self.variants)]
        stored = [read_json(path) for path in (self.folder / p / "metrics.json" for p in places) if path.exists()]
        rows = []
        for model in sorted(stored, key=lambda each: (each["kind"] == "sasrec", each["depth"] or 0)):
            layers, counts = 1 + (model["depth"] or 0), model["parameters"]
            latency = (2.0 * layers, 2.5 * layers, 20.0 * layers, 24.0 * layers)
            rows.append(
                (
                    model["kind"], model["selection"], model["depth"], counts["total"],
                    *(counts.get(part) for part in columns.PARAMETER_PARTS), model["train_seconds"], 3200.0 / layers,
                    *latency, 4 * counts["total"], 10**6 * layers, None if layers == 1 else 10**8 * layers,
                )
            )  # fmt: skip
        return pd.DataFrame(rows, columns=list(columns.COSTS)).astype({columns.DEPTH: "Int64"})

    def ranks(self, skill: float, seed: int) -> pd.DataFrame:
        """Ranks of a model: a higher `skill` puts targets further up."""
        generator = np.random.default_rng(seed)
        parts = []
        for position, split in enumerate(("valid", "test")):
            noise = generator.normal(scale=0.4, size=self.shape.n_users)
            share = 1 / (1 + np.exp(skill - 2.5 * self.difficulty - noise))
            for protocol, n_candidates in (
                ("full", N_ITEMS - self.lengths),
                (f"sampled-{N_NEGATIVES}", N_NEGATIVES + 1),
            ):
                parts.append(
                    self._part(split, protocol, self.targets[position], share * (n_candidates - 1), n_candidates)
                )
        return pd.concat(parts, ignore_index=True)[list(columns.RANKS)]

    def _part(self, split: str, protocol: str, targets: np.ndarray, place: np.ndarray, n: Any) -> pd.DataFrame:
        return pd.DataFrame(
            {
                columns.USER: np.arange(self.shape.n_users, dtype=np.int32),
                columns.TARGET: targets.astype(np.int32),
                columns.SPLIT: split,
                columns.PROTOCOL: protocol,
                columns.N_HIGHER: np.floor(place).astype(np.int32),
                columns.N_TIES: np.int32(0),
                columns.N_CANDIDATES: np.broadcast_to(n, self.shape.n_users).astype(np.int32),
                columns.HISTORY_LENGTH: self.lengths.astype(np.int32),
                columns.TARGET_POPULARITY: self.popularity.astype(np.int32),
            }
        )

    def _add(self, ranks: pd.DataFrame, point: CurvePoint) -> None:
        self.curve.append(curve_rows(ranks, point, KS, ALPHA, N_BOOT))
        if point.kind in SLICED:
            test = ranks[(ranks[columns.SPLIT] == "test") & (ranks[columns.PROTOCOL] == "full")]
            test = test.assign(**{columns.RECENCY: self.gaps}) if self.shape.has_times else test
            rows = slice_rows(test, slice_cuts(test, "s"), SLICED_METRICS, ALPHA, N_BOOT, 0)
            key = (point.kind, point.selection)
            known = self.sliced[key].ranks if key in self.sliced else {}
            self.sliced[key] = SlicedModel(*key, point.depth, {**known, point.seed: test})
            names = (columns.KIND, columns.SELECTION, columns.DEPTH, columns.SEED)
            self.slices.append(rows.assign(**{name: getattr(point, name) for name in names}))

    def _differences(self) -> pd.DataFrame:
        others = dict(self.sliced)
        full = others.pop(("variant", f"first:{self.shape.n_layers}"))
        cuts = slice_cuts(next(iter(full.ranks.values())), "s")
        return slice_differences(full, list(others.values()), cuts, SLICED_METRICS, ALPHA)

    def _model(self, folder: Path, point: CurvePoint, ranks: pd.DataFrame) -> None:
        """Writes a model folder and adds its rows to the curve."""
        depth = point.depth or 0
        layers = depth * 4 * WIDTH**2
        parts = {"backbone": layers + WIDTH, "input_adapter": WIDTH * (TABLE_WIDTH + 1), "head": WIDTH * TABLE_WIDTH}
        parts["item_table"] = (N_ITEMS + 1) * TABLE_WIDTH
        described = {
            "kind": point.kind,
            "selection": point.selection,
            "depth": point.depth,
            "layers": self._layers(point.selection),
            "seed": point.seed,
            "parameters": {"total": point.parameters, "layers": layers, "trainable": layers, **parts},
            "train_seconds": point.train_seconds,
            "users_per_second": point.users_per_second,
            "epochs": 12,
            "best_epoch": 9,
            "best_valid": 0.1,
            "metrics": metric_table(ranks, KS).to_dict(orient="records"),
        }
        write_json(folder / "metrics.json", described)
        ending: dict[str, object] = {
            "epochs_allowed": 20, "stopped_by": "patience", "slope": -0.001, "slope_se": 0.002, "rising": False,
            "settings_tried": 1,
        }  # fmt: skip
        self.endings.append(ending | {name: described[name] for name in columns.CONVERGENCE if name in described})
        write_parquet(folder / "ranks.parquet", ranks)
        self._add(ranks, point)

    def _point(self, kind: str, selection: str, depth: int, seed: int) -> CurvePoint:
        parameters = depth * 4 * WIDTH**2 + WIDTH * (2 * TABLE_WIDTH + 2) + (N_ITEMS + 1) * TABLE_WIDTH
        return CurvePoint(kind, selection, depth, seed, parameters, 3.0 + 2.5 * depth, 4000.0 / (1 + depth))

    def _floors(self) -> None:
        skills = {"sasrec": 2.9, "tfidf": 2.6, "markov-1": 2.55, "popularity": 1.0}
        for position, (kind, skill) in enumerate(skills.items()):
            if kind == "tfidf" and not self.shape.has_titles:
                continue
            ranks = self.ranks(skill, 100 + position)
            self.floors[kind] = ranks
            if kind == "sasrec":
                self._model(self.folder / "items", CurvePoint(kind, "", None, 0, 60000, 4.2, 9000.0), ranks)
            else:
                write_parquet(self.folder / "baselines" / f"ranks-{kind}.parquet", ranks)
                self._add(ranks, CurvePoint(kind, "", None, 0, None, None, None))

    def _skill(self, depth: int) -> float:
        return 2.2 + 1.6 * (1 - np.exp(-1.6 * depth))

    def _variants(self) -> None:
        full = self.shape.n_layers
        for seed in self.shape.seeds:
            for depth in range(full + 1):
                ranks = self.ranks(self._skill(depth), 10 * seed + depth)
                is_teacher = depth == full and seed == self.shape.seeds[0]
                folder = self.folder / ("teacher" if is_teacher else f"variants/first-{depth}/seed-{seed}")
                self._model(folder, self._point("variant", f"first:{depth}", depth, seed), ranks)
                self.variants.setdefault(parse_selection(f"first:{depth}", full), []).append(ranks)
        for position, text in enumerate(self.shape.selections):
            selection = parse_selection(text, full)
            for seed in self.shape.seeds:
                folder = self.folder / "variants" / selection.folder / f"seed-{seed}"
                ranks = self.ranks(self._skill(selection.depth) - 0.3 + 0.1 * position, 200 + position + 1000 * seed)
                self._model(folder, self._point("variant", text, selection.depth, seed), ranks)
                self.variants.setdefault(selection, []).append(ranks)

    def _controls(self) -> None:
        for position, selection in enumerate(self.variants):
            if not selection.depth:
                continue
            for seed in self.shape.seeds:
                folder = self.folder / "controls" / "random-init" / selection.folder / f"seed-{seed}"
                ranks = self.ranks(self._skill(selection.depth) - 0.8, 400 + position + 1000 * seed)
                self._model(folder, self._point("random-init", selection.text, selection.depth, seed), ranks)
                self.twins.setdefault(selection, []).append(ranks)

    def _layers(self, text: str) -> list[int] | None:
        return list(parse_selection(text, self.shape.n_layers).layers) if text else None

    def _exits(self) -> None:
        full = self.shape.n_layers
        for depth in range(full + 1):
            missing = full - depth
            skills = {
                "exit-norm": 3.8 - 0.6 * missing,
                "exit-raw": 3.4 - 0.9 * missing,
                "exit-probe": 3.7 - 0.3 * missing,
            }
            for kind, skill in skills.items():
                ranks = self.ranks(skill, full if (kind == "exit-norm" and not missing) else 50 + depth)
                write_parquet(self.folder / "exits" / f"ranks-{kind}-{depth}.parquet", ranks)
                self._add(ranks, self._point(kind, f"first:{full}", depth, 0))

    def _student(self) -> None:
        depth = max(1, self.shape.n_layers // 2)
        selection = parse_selection(f"first:{depth}", self.shape.n_layers)
        students = [self.ranks(3.85, 300 + seed) for seed in self.shape.seeds]
        for seed, ranks in zip(self.shape.seeds, students, strict=True):
            folder = self.folder / "distillation" / "student"
            point = self._point("distilled", selection.text, depth, seed)
            self._model(folder / f"seed-{seed}" if seed != self.shape.seeds[0] else folder, point, ranks)
        plain = self.variants[selection]
        gain = compare_distilled(selection, students, plain, DecisionOptions(), baselines=self.floors)
        write_distilled(self.folder, gain.record("student", selection.text))

    def _scores(self) -> None:
        full = self.shape.n_layers
        shape = ScoreShape(self.folder, full, self.shape.n_users, WIDTH, self.shape.measures, len(self.shape.seeds))
        curve = pd.concat(self.curve, ignore_index=True)
        is_point = (curve[columns.KIND] == "variant") & (curve[columns.METRIC] == "ndcg") & (curve[columns.K] == 10)
        is_part = (curve[columns.SPLIT] == "test") & (curve[columns.PROTOCOL] == "full")
        rows = curve[is_point & is_part].groupby([columns.SELECTION, columns.DEPTH], sort=False)[columns.VALUE].mean()
        write_fake_scores(shape, {str(text): (int(str(depth)), value) for (text, depth), value in rows.items()})

    def _data(self) -> None:
        n_rows = int(self.lengths.sum())
        steps = [
            {"step": "read", "users": self.shape.n_users + 90, "items": N_ITEMS + 700, "interactions": n_rows + 4321},
            {"step": "k-core", "users": self.shape.n_users, "items": N_ITEMS, "interactions": n_rows},
        ]
        audit = {
            "n_pairs": n_rows - self.shape.n_users,
            "has_times": True,
            "equal_time": 0.439,
            "backward": 0.0,
            "ascending_equal": 1.0,
            "ascending_different": 0.454,
            "target_ties": 0.435,
            "next_raw_id": None,
            "next_first_appearance": 0.0004,
            "chance": 1 / N_ITEMS,
            "n_evaluated": self.shape.n_users,
            "catalogue_order": False,
            "notes": ["rows of equal time (43.9 % of the pairs) are in catalogue order: metrics depend on that"],
        }
        counts = {
            "users": self.shape.n_users,
            "items": N_ITEMS,
            "interactions": n_rows,
            "evaluated_users": self.shape.n_users,
            "density": n_rows / (self.shape.n_users * N_ITEMS),
        }
        lengths = {"min": 3, "median": 20.5, "mean": float(self.lengths.mean()), "max": int(self.lengths.max())}
        facts = {
            "source": "synthetic",
            "order": "by time, equal times in file order",
            "steps": steps,
            "counts": counts,
            "lengths": lengths,
            "items_with_title": N_ITEMS - 7 if self.shape.has_titles else None,
            "audit": audit,
        }
        write_json(self.folder / "data" / "facts.json", facts)

    def _state(self) -> None:
        spec = {"name": "fake", "probe": {"start": "backbone", "seeds": list(self.shape.seeds)}}
        write_yaml(self.folder / "study.yaml", spec | {"evaluation": {"alpha": ALPHA, "ks": KS}})
        provenance = {
            "versions": {"layerprobe": "0.1.0", "torch": "2.13.0"},
            "git": {"commit": COMMIT, "dirty": False},
            "python": "3.12.0",
            "machine": {"system": "Linux", "processor": "x86_64", "cores": 2},
            "device": "cpu",
            "seeds": list(self.shape.seeds),
        }
        write_json(self.folder / "provenance.json", provenance | {"continued": []})


def write_fake_study(folder: Path, shape: FakeShape | None = None) -> Path:
    """Writes a made-up study into `folder` and returns it."""
    return FakeStudy(folder, shape or FakeShape()).write()
