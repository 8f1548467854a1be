# SPDX-License-Identifier: Apache-2.0
"""One table holds every condition that a person may see, and no text for a person stands outside it."""

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedagent.conditions import condition, table
from fedagent.conditions.condition import Condition, ExitCode, Severity
from fedagent.conditions.table import AREAS, RETIRED, TABLE

PACKAGE = Path(condition.__file__).parents[1]
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent.name != "conditions")
DECLARED = {name: each for area in AREAS for name, each in vars(area).items() if isinstance(each, Condition)}

PROSE = re.compile(r"[A-Za-z]{2,}[,;:]? [A-Za-z]{2,}")
SQL = re.compile(
    r"\s*(SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|PRAGMA|BEGIN|COPY|DECLARE|DESCRIBE|FETCH|SET|WITH)\b"
    r"|(?s:.*)\b(AND|AS|ELSE|END|FORMAT|FROM|IN|IS|LIMIT|OVER|THEN|WHEN)\b"
)
"""Also a piece of it, between two names."""
CONTEXT = re.compile(r"fedagent/v\d+ ")
"""A domain that a signature or a sealed secret covers: bytes on the wire, which nobody reads."""
OURS = re.compile(r"[A-Za-z]*Error$")
NOT_SAID = frozenset({"TypeError", "AssertionError", "KeyError", "compile"})
"""Errors of a programmer, which end in a traceback, and patterns of what others say."""

JOURNAL = "journal.py"
"""Says every condition, so it may call a logger."""

VIEWS = frozenset({
    "cli", "demo", "site/status.py", "site/waits.py", "site/operator.py", "aggregator/reports.py", "aggregator/part_report.py",
    "aggregator/broker.py", "aggregator/card.py", "trainer/baseline.py", "trainer/draft.py", "trainer/fit.py",
    "trainer/snapshot.py", "trainer/small_counts.py",
})  # fmt: skip
"""Headings, labels, help and files for other programs: what a person asked for. Their errors are conditions like everybody's."""


def name(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def is_view(path: Path) -> bool:
    return name(path) in VIEWS or name(path).split("/")[0] in VIEWS


def called(node: ast.AST) -> str:
    match node:
        case ast.Call(func=ast.Name(id=found) | ast.Attribute(attr=found)):
            return found
        case _:
            return ""


def docstrings(tree: ast.AST) -> set[int]:
    """Constants that are statements: docstrings, of values as well."""
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def speaks(node: ast.AST) -> bool:
    """Whether the node is a call whose words a person gets to read."""
    found = called(node)
    raised = bool(OURS.match(found)) and found not in NOT_SAID
    return raised or found in {"tell", "tell_lines"} or is_log(node)


def is_log(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="log" | "_log"), attr=level)):
            return level in {"debug", "info", "warning", "error", "critical", "log", "exception"}
        case _:
            return False


def is_words(node: ast.AST) -> bool:
    """An enumeration of states: names, not conditions."""
    return isinstance(node, ast.ClassDef) and any(ast.unparse(each) == "StrEnum" for each in node.bases)


def prose(tree: ast.AST, skip: set[int]) -> Iterator[ast.Constant]:
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str() as text) if PROSE.search(text) and not (
                SQL.match(text) or CONTEXT.match(text)
            ):
                if id(node) not in skip:
                    yield node


def outside_the_table(path: Path) -> list[str]:
    tree = ast.parse(path.read_text("utf-8"))
    skip = docstrings(tree)
    for node in ast.walk(tree):
        if called(node) in NOT_SAID or is_words(node):
            skip |= {id(each) for each in ast.walk(node)}
    roots = [node for node in ast.walk(tree) if speaks(node)] if is_view(path) else [tree]
    found = {node.lineno: str(node.value) for root in roots for node in prose(root, skip)}
    if not is_view(path) and name(path) != JOURNAL:
        logs = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and is_log(node)]
        found |= {node.lineno: ast.unparse(node) for node in logs}
    return [f"{name(path)}:{line}: {text}" for line, text in sorted(found.items())]


def fields(each: Condition) -> set[str]:
    parsed = string.Formatter().parse(f"{each.text} {each.action}")
    return {re.split(r"[.\[]", field)[0] for _, field, _, _ in parsed if field is not None}


@pytest.mark.parametrize("path", [pytest.param(path, id=name(path)) for path in MODULES])
def test_no_text_for_a_person_stands_outside_the_table(path: Path) -> None:
    assert outside_the_table(path) == []


def test_the_check_finds_text_that_stands_outside(tmp_path: Path) -> None:
    bad = PACKAGE / "core" / "agent.py"
    tree = ast.parse('text = f"study {name} is over"\nraise WireError("no such thing")\n')
    assert [node.lineno for node in prose(tree, set())] == [1, 2]
    assert not is_view(bad)
    assert all(
        speaks(ast.parse(call, mode="eval").body) for call in ('WireError("x")', "log.info(1)", "tell(a, b)")
    )


def test_codes_are_in_order_and_given_once() -> None:
    for number, area in enumerate(AREAS, 1):
        codes = [each.code for each in table.of_area(area)]
        assert codes == sorted(set(codes)), f"{area.__name__}: codes rise down the page"
        assert [code for code in codes if not re.fullmatch(rf"FA{number}\d{{3}}", code)] == []
    assert len(TABLE) == len(DECLARED) == sum(len(table.of_area(area)) for area in AREAS)
    assert RETIRED.isdisjoint(TABLE)


@pytest.mark.parametrize("each", TABLE.values(), ids=lambda each: each.code)
def test_a_condition_says_one_line(each: Condition) -> None:
    assert "\n" not in each.text + each.action + each.title
    assert each.title
    assert not each.title.endswith(".")
    assert not each.text.endswith((".", ";", ":"))
    assert each.exit_code is not ExitCode.DONE
    assert isinstance(each.severity, Severity)


def calls() -> Iterator[tuple[str, str, set[str]]]:
    """Every call of a condition by its name: where, which, and the values it gives."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and called(node) in DECLARED:
                yield f"{name(path)}:{node.lineno}", called(node), {str(word.arg) for word in node.keywords}


def test_every_call_gives_what_the_text_needs() -> None:
    wrong = [f"{where} {which}: {given ^ fields(DECLARED[which])}" for where, which, given in calls() if given != fields(DECLARED[which])]  # fmt: skip
    assert wrong == []


def test_every_condition_is_said_somewhere() -> None:
    words = {word for path in MODULES for word in re.findall(r"[A-Z][A-Z_0-9]+", path.read_text("utf-8"))}
    assert sorted(set(DECLARED) - words) == []
