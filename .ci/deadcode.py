# SPDX-License-Identifier: Apache-2.0
"""Says what nobody uses: vulture, less the fields and members that stand in class bodies.

Rule: no list of names. What is not used is removed; what only a test uses stays for as long as the test.
"""

import ast
import sys
import tomllib
from pathlib import Path

from vulture import Vulture

SCHEMA_KINDS = frozenset({"attribute", "variable"})


def class_body_lines(path: Path) -> set[int]:
    """Lines where a class body itself, not one of its methods, assigns or declares a name."""
    tree = ast.parse(path.read_text("utf-8"))
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    return {
        item.lineno for node in classes for item in node.body if isinstance(item, ast.Assign | ast.AnnAssign)
    }


def main() -> int:
    """Print one line for each unused thing; 1 if there is any."""
    settings = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["tool"]["vulture"]
    vulture = Vulture(ignore_names=settings["ignore_names"], ignore_decorators=settings["ignore_decorators"])
    vulture.scavenge(settings["paths"])
    unused = [
        item
        for item in vulture.get_unused_code(min_confidence=settings["min_confidence"])
        if item.typ not in SCHEMA_KINDS or item.first_lineno not in class_body_lines(Path(item.filename))
    ]
    for item in unused:
        print(item.get_report())
    return 1 if unused or vulture.exit_code else 0


if __name__ == "__main__":
    sys.exit(main())
