"""The limits on files and functions, and the few things that are never written here."""

from __future__ import annotations

import ast
from collections import Counter

import pytest

MAX_FILE_LINES = 350
MAX_FUNCTION_LINES = 40
MAX_PARAMETERS = 6
NO_PICKLE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
PICKLE_CALLS = {"torch.load", "torch.save", "pandas.read_pickle", "pd.read_pickle"}


def functions(module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(module.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, the docstring left out: explaining more must not cost code."""
    length = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        length -= function.body[0].end_lineno - function.body[0].lineno + 1
    return length


def n_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    arguments = function.args
    named = [a.arg for a in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]]
    return len([name for name in named if name not in {"self", "cls"}])


def broad_excepts(module) -> list[int]:
    broad = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler):
            caught = {name.id for name in ast.walk(node.type) if isinstance(name, ast.Name)} if node.type else set()
            if node.type is None or caught & {"Exception", "BaseException"}:
                broad.append(node.lineno)
    return broad


def pickle_uses(module) -> list[str]:
    calls = {ast.unparse(node.func) for node in ast.walk(module.tree) if isinstance(node, ast.Call)}
    return sorted({name.split(".")[0] for name in module.imports()} & NO_PICKLE | calls & PICKLE_CALLS)


def test_the_package_is_found(modules):
    assert len(modules) > 60
    assert sum(len(functions(module)) for module in modules.values()) > 200


def test_no_file_is_longer_than_its_limit(modules):
    lengths = {name: len(module.lines) for name, module in modules.items()}
    assert {name: length for name, length in lengths.items() if length > MAX_FILE_LINES} == {}


def test_no_function_is_longer_than_its_limit(modules):
    lengths = {f"{name}.{f.name}": body_lines(f) for name, module in modules.items() for f in functions(module)}
    assert {name: length for name, length in lengths.items() if length > MAX_FUNCTION_LINES} == {}


def test_no_function_takes_more_parameters_than_its_limit(modules):
    counts = {f"{name}.{f.name}": n_parameters(f) for name, module in modules.items() for f in functions(module)}
    assert {name: count for name, count in counts.items() if count > MAX_PARAMETERS} == {}


def test_folder_files_are_empty_so_that_each_name_has_one_import_path(modules):
    filled = [m.name for m in modules.values() if m.path.name == "__init__.py" and m.lines]
    assert filled == ["layerprobe"]


def test_no_file_is_named_after_nothing(modules):
    names = {name.rsplit(".", 1)[-1] for name in modules}
    assert names & {"utils", "util", "helpers", "misc", "common"} == set()


def test_nothing_reads_or_writes_pickle(modules):
    assert {name: uses for name, module in modules.items() if (uses := pickle_uses(module))} == {}


def test_no_error_is_swallowed_by_a_broad_except(modules):
    assert {name: lines for name, module in modules.items() if (lines := broad_excepts(module))} == {}


@pytest.mark.parametrize(
    ("source", "n_lines", "parameters", "broad", "pickles"),
    [
        ("def f(self, a, *, b):\n    '''One.\n\n    Two.\n    '''\n    return a", 2, 2, [], []),
        ("def f():\n    try:\n        pass\n    except (OSError, Exception):\n        pass", 5, 0, [4], []),
        ("def f():\n    import pickle\n    torch.load(1)", 3, 0, [], ["pickle", "torch.load"]),
    ],
)
def test_the_measures_find_what_they_must(parse_module, source, n_lines, parameters, broad, pickles):
    module = parse_module("layerprobe.data.made_up", source)
    (function,) = functions(module)
    assert body_lines(function) == n_lines
    assert n_parameters(function) == parameters
    assert broad_excepts(module) == broad
    assert pickle_uses(module) == pickles


def test_test_files_have_unique_names_and_lie_in_a_folder_of_the_package(root):
    files = sorted((root / "tests").rglob("test_*.py"))
    assert len(files) > 20
    counts = Counter(path.name for path in files)
    assert [name for name, count in counts.items() if count > 1] == []
    packages = {path.name for path in (root / "layerprobe").iterdir() if path.is_dir()}
    folders = {path.parent.relative_to(root / "tests").parts[0] for path in files}
    assert folders - packages <= {"project", "notebooks"}
