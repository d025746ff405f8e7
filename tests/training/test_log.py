"""Progress: on a terminal or in a log to standard error, in a notebook to standard output and as widgets."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from layerprobe.training import log
from layerprobe.training.log import in_notebook, say, shown


def fake_ipython(monkeypatch: pytest.MonkeyPatch, config: dict[str, object] | None) -> None:
    """Puts an IPython in place whose shell has this configuration; None is no shell."""
    shell = None if config is None else SimpleNamespace(config=config)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))


@pytest.mark.parametrize(
    ("config", "expected"),
    [({"IPKernelApp": {}}, True), ({"TerminalIPythonApp": {}}, False), (None, False)],
    ids=["kernel", "IPython in a terminal", "IPython is only imported"],
)
def test_a_notebook_is_known_by_its_kernel(
    config: dict[str, object] | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_ipython(monkeypatch, config)
    assert in_notebook() == expected


def test_without_ipython_there_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert not in_notebook()


def test_progress_lines_go_to_standard_error_and_in_a_notebook_to_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_ipython(monkeypatch, None)
    say("first")
    assert capsys.readouterr() == ("", "first\n")
    fake_ipython(monkeypatch, {"IPKernelApp": {}})
    say("second")
    assert capsys.readouterr() == ("second\n", "")


@pytest.mark.parametrize("has_widgets", [True, False])
def test_a_notebook_gets_a_bar_where_there_are_widgets_and_lines_where_there_are_none(
    has_widgets: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = []
    monkeypatch.setattr(log, "tqdm", lambda items, **options: made.append(options) or items)
    monkeypatch.setattr(log, "say", print)
    monkeypatch.setattr(log, "HAS_WIDGETS", has_widgets)
    monkeypatch.setattr(log, "LINE_SECONDS", 0.0)
    fake_ipython(monkeypatch, {"IPKernelApp": {}})
    assert list(shown("abc", 3, "epoch 1")) == ["a", "b", "c"]
    assert [options["desc"] for options in made] == (["epoch 1"] if has_widgets else [])
    lines = [f"epoch 1: {count} of 3" for count in (1, 2, 3)]
    assert capsys.readouterr().out.splitlines() == ([] if has_widgets else lines)


NO_WIDGETS = """
import sys
import types

sys.modules["ipywidgets"] = None
sys.modules["ipykernel.zmqshell"] = types.ModuleType("ipykernel.zmqshell")  # what tqdm knows a notebook by
import IPython
"""


@pytest.mark.parametrize(
    ("code", "warned"),
    [("import layerprobe; layerprobe.load_spec", False), ("import tqdm.auto", True)],
    ids=["layerprobe", "the block works"],
)
def test_a_notebook_without_widgets_is_not_warned(code: str, warned: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_WIDGETS + code], capture_output=True, text=True, check=True, timeout=120
    )
    assert ("TqdmWarning: IProgress not found" in done.stderr) == warned
    assert warned or done.stderr == ""
