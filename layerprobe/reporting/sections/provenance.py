"""Section: code, machine, versions and settings of the study."""

from __future__ import annotations

from typing import Any

import yaml

from layerprobe.reporting.files.study_files import StudyFiles
from layerprobe.reporting.sections.section import Section, absent
from layerprobe.reporting.words import markdown


def provenance_section(study: StudyFiles) -> Section:
    """Shows commit, device, seeds, versions and the resolved spec."""
    paragraphs = []
    if study.provenance is None:
        paragraphs.append(absent("provenance", "provenance.json", "Versions and commit are unknown."))
    else:
        paragraphs += _state(study, study.provenance)
    if study.spec is None:
        paragraphs.append(absent("the spec", "study.yaml", "The settings are unknown."))
    else:
        text = yaml.safe_dump(study.spec, sort_keys=False, allow_unicode=True)
        paragraphs.append(markdown.folded("Every setting of this study (study.yaml)", text, "yaml"))
    return Section("Provenance", paragraphs)


def _content(provenance: dict[str, Any]) -> dict[str, str]:
    """Returns the hashes of the checkpoint's files, from the first run that stored them."""
    runs = [provenance, *(provenance.get("continued") or [])]
    return next((run["backbone"] for run in runs if run.get("backbone")), {})


def _how(provenance: dict[str, Any]) -> list[list[str]]:
    """Returns precision and number of processes; studies of earlier versions do not hold them."""
    if "precision" not in provenance:
        return []
    precision = "bfloat16 passes" if provenance["precision"] == "bf16" else "float32"
    return [["precision", precision], ["processes", str(provenance["processes"])]]


def _state(study: StudyFiles, provenance: dict[str, Any]) -> list[str]:
    machine = provenance["machine"]
    rows = [
        ["commit", study.commit],
        ["device", str(provenance["device"])],
        ["machine", f"{machine['system']}, {machine['processor']}, {machine['cores']} cores"],
        *_how(provenance),
        ["seeds", ", ".join(map(str, provenance["seeds"]))],
        *([f"backbone's {name}", value[:16]] for name, value in _content(provenance).items()),
        ["python", provenance["python"]],
        *([name, version] for name, version in provenance["versions"].items()),
    ]
    paragraphs = [markdown.table(["What", "Value"], rows, left=2)]
    continued = provenance.get("continued") or []
    if continued:
        commits = ", ".join(dict.fromkeys(str((run.get("git") or {}).get("commit"))[:10] for run in continued))
        paragraphs.append(
            f"The study was resumed with other code, with other processes or on another machine: commit {commits}."
        )
    return paragraphs
