# SPDX-License-Identifier: Apache-2.0
"""FA1: files, folders, databases and the disk under them."""

from typing import Final

from fedagent.conditions.condition import Condition

CANNOT_WRITE: Final = Condition(
    "FA1001", "A file cannot be written", "cannot write {path}: {reason}", "check that disk"
)
NO_FOLDER: Final = Condition(
    "FA1002",
    "The folder of a file is missing",
    "cannot write {path}: {reason}",
    "make the folder {folder} first, or name another one",
)
MAY_NOT_WRITE: Final = Condition(
    "FA1003",
    "A file may not be written",
    "cannot write {path}: {reason}",
    "try sudo, or correct the permissions of {folder}",
)
NO_SPACE: Final = Condition("FA1004", "The disk is full", "cannot write {path}: {reason}", "free space there")
CANNOT_MAKE_FOLDER: Final = Condition(
    "FA1005", "A folder cannot be made", "cannot make the folder {path}: {reason}", "correct its permissions"
)
