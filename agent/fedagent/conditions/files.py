# SPDX-License-Identifier: Apache-2.0
"""FA1: files, folders, databases and the disk under them."""

from typing import Final

from fedagent.conditions.condition import Condition, ExitCode, Severity

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
NEWER_STATE: Final = Condition(
    "FA1006",
    "State was written by a newer version",
    "{path} was written by a newer fedagent (state version {found}, this one knows {known}): nothing was changed",
    "upgrade again",
    exit_code=ExitCode.CONFIGURATION,
)
EARLIER_STATE: Final = Condition(
    "FA1007",
    "State is still of an earlier version",
    "{path} was written by an earlier fedagent (state version {found}, this one reads {known})",
    "restart fedaggregator, which brings it up to date",
    exit_code=ExitCode.UNAVAILABLE,
)
TOO_LITTLE_ROOM: Final = Condition(
    "FA1081",
    "The disk is nearly full",
    "{free_mib} MiB are free in {folder}, {needed_mib} MiB are needed",
    "free space there",
)
WAITS_FOR_ROOM: Final = Condition(
    "FA1082",
    "Something waits for room on the disk",
    "{reason}",
    "nothing is lost, and it goes on by itself when there is room",
)
ROOM_AGAIN: Final = Condition(
    "FA1083", "There is room again", "there is room on the disk again", severity=Severity.INFO
)
OVER_BUDGET: Final = Condition(
    "FA1084",
    "Models and updates have no more room in their budget",
    "models and updates take {used_mib} MiB in {folder}, and {needed_mib} MiB more are above their budget of {budget_mib} MiB",
    "raise transfer.blob_budget_mib, or wait for the rounds that need them to end",
)
CANNOT_USE: Final = Condition(
    "FA1101",
    "A file or folder of fedagent's state cannot be used",
    "cannot use {path}: {reason}",
    "correct its owner or permissions, and check that disk",
)
NOT_WHOLE: Final = Condition(
    "FA1102",
    "A model or update on the disk is not whole",
    "{path} is not whole ({bytes} bytes, must be {needed})",
    "delete it: it is fetched again",
)
ENDS_EARLY: Final = Condition(
    "FA1103",
    "A model or update on the disk ends early",
    "{path} ends before byte {end}: it is damaged",
    "delete it: it is fetched again",
)
CANNOT_OPEN: Final = Condition(
    "FA1104",
    "A database cannot be opened",
    "cannot open {path}: {reason}",
    "check that disk and the file's owner, or restore the file from a backup",
)
NEWER_OUTBOX: Final = Condition(
    "FA1105",
    "The outbox was written by a newer version",
    "the outbox holds a {kind!r}, which this version does not know",
    "upgrade again",
)
TRAINER_CANNOT_READ: Final = Condition(
    "FA1301",
    "The trainer cannot read a file",
    "cannot read {path}: {reason}",
    "let the trainer's user read it",
)
NOT_READABLE: Final = Condition(
    "FA1601", "A file cannot be read", "cannot read {path}: {reason}", "correct its owner or permissions"
)
DAMAGED: Final = Condition("FA1602", "A file is damaged", "{path} is damaged", "restore it from a backup")
RESTORE: Final = Condition(
    "FA1603",
    "A file of fedagent's state cannot be read",
    "cannot read {path}: {reason}",
    "restore it from a backup",
)
CANNOT_EXPORT: Final = Condition(
    "FA1604", "A model cannot be exported there", "cannot write {path}: {reason}", "choose another place"
)
