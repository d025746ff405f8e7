"""Reading of YAML that comes from outside: bounded in size, depth and expansion; a mistake is one line.

A study's YAML is written by hand or comes with a published folder. So nothing of the file is echoed but a key that is
given twice: what was opened by mistake may be private.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from layerprobe.arguments import shown
from layerprobe.errors import InputError

MOST_BYTES = 2**18
MOST_VALUES = 20_000
DEEPEST = 50
QUOTED = re.compile(r"""(?<=alias|e tag|andle|nchor) (['"]).*\1""", re.DOTALL)
"""A name of the file in the message of the library; what it quotes besides are kinds of tokens and characters."""


class _Loader(yaml.SafeLoader):
    """The safe loader, which also refuses depth, expansion by aliases, and keys that are given twice."""

    depth = n_nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Composes one node; stops long before the recursion does."""
        self.depth += 1
        self.n_nodes += 1
        if self.n_nodes > MOST_VALUES:
            raise _mistake(f"more than {MOST_VALUES:,} values", self.peek_event())
        if self.depth > DEEPEST:
            raise _mistake(f"nested deeper than {DEEPEST} levels", self.peek_event())
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def get_single_node(self) -> yaml.Node | None:
        """Composes the whole document and counts what it stands for."""
        node = super().get_single_node()
        if node is not None:
            _expanded(node, {})
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Builds one mapping, whose own keys must differ; keys of a merge (`<<`) may be given again."""
        seen: dict[Any, yaml.Node] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if (key.tag, key.value) in seen:
                first = seen[key.tag, key.value].start_mark.line + 1
                raise _mistake(f"the key {shown(key.value)} is given twice, first in line {first}", key)
            seen[key.tag, key.value] = key
        return super().construct_mapping(node, deep)


def _mistake(problem: str, at: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark)


def _expanded(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Returns the number of values that a node stands for, each alias counted in full; each node is visited once."""
    if id(node) in sizes:
        if not sizes[id(node)]:
            raise _mistake("an alias stands inside of what it names", node)
        return sizes[id(node)]
    sizes[id(node)] = 0  # being counted
    inner = [] if isinstance(node, yaml.ScalarNode) else list(node.value)
    parts = [part for entry in inner for part in (entry if isinstance(entry, tuple) else (entry,))]
    size = 1 + sum(_expanded(part, sizes) for part in parts)
    if size > MOST_VALUES:
        raise _mistake(f"its aliases stand for more than {MOST_VALUES:,} values", node)
    sizes[id(node)] = size
    return size


def read_limited(path: Path) -> Any:
    """Reads one YAML file with a safe loader.

    Raises:
        InputError: it cannot be read, is no UTF-8 or no YAML, or is larger, deeper or more repetitive than any study.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise InputError(
                f"{path} must be YAML of at most {MOST_BYTES // 2**10:,} KiB; it has {size // 2**10:,} KiB"
            )
        text = path.read_bytes().decode()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} must be YAML, as UTF-8 text; byte {error.start + 1:,} is not") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, name: str) -> Any:
    """Returns the value of a YAML text.

    Raises:
        InputError: as `read_limited`; the message begins with `name`.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - it is a safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
        raise InputError(f"{name} must be YAML: {where}{_without_quotes(error)}") from None
    except yaml.YAMLError:
        raise InputError(f"{name} must be YAML; it holds characters that no YAML has, as binary files do") from None
    except (ValueError, LookupError, AttributeError, TypeError, OverflowError) as error:
        # What the library's constructors raise for a tag or form that its value does not fit, such as a 13th month.
        raise InputError(f"{name} must be YAML; one of its values has a wrong form ({type(error).__name__})") from None


def _without_quotes(error: yaml.MarkedYAMLError) -> str:
    """Returns the problem without what the library quotes of the file."""
    problem = error.problem or "it cannot be read"
    return problem if problem.startswith("the key ") else QUOTED.sub("", problem).rstrip()
