"""Section: what made the numbers."""

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


def _content(found: dict[str, Any]) -> dict[str, str]:
    """Returns what the checkpoint's content was known by, from the first run that wrote it down."""
    runs = [found, *(found.get("continued") or [])]
    return next((run["backbone"] for run in runs if run.get("backbone")), {})


def _how(found: dict[str, Any]) -> list[list[str]]:
    """Returns precision and number of processes; studies of earlier versions do not hold them."""
    if "precision" not in found:
        return []
    precision = "bfloat16 passes" if found["precision"] == "bf16" else "float32"
    return [["precision", precision], ["processes", str(found["processes"])]]


def _state(study: StudyFiles, found: dict[str, Any]) -> list[str]:
    machine = found["machine"]
    rows = [
        ["commit", study.commit],
        ["device", str(found["device"])],
        ["machine", f"{machine['system']}, {machine['processor']}, {machine['cores']} cores"],
        *_how(found),
        ["seeds", ", ".join(map(str, found["seeds"]))],
        *([f"backbone's {name}", value[:16]] for name, value in _content(found).items()),
        ["python", found["python"]],
        *([name, version] for name, version in found["versions"].items()),
    ]
    paragraphs = [markdown.table(["What", "Value"], rows, left=2)]
    continued = found.get("continued") or []
    if continued:
        commits = ", ".join(dict.fromkeys(str((one.get("git") or {}).get("commit"))[:10] for one in continued))
        paragraphs.append(
            "Later runs went on with this study under other code, with other processes or on another machine: commit "
            f"{commits}."
        )
    return paragraphs
