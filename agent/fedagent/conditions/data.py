# SPDX-License-Identifier: Apache-2.0
"""FA6: datasets, their sources, mappings and snapshots."""

from functools import partial
from typing import Final

from fedagent.conditions.condition import Condition, ExitCode, Severity

_configuration = partial(Condition, exit_code=ExitCode.CONFIGURATION)
_unavailable = partial(Condition, exit_code=ExitCode.UNAVAILABLE)
_told = partial(Condition, severity=Severity.INFO)
_warned = partial(Condition, severity=Severity.WARNING)

NO_SNAPSHOT_YET: Final = Condition(
    "FA6301",
    "A dataset has no snapshot",
    "dataset {dataset} has no snapshot yet",
    "sudo fedagent dataset snapshot {dataset}",
)
SNAPSHOTS_UNUSABLE: Final = Condition(
    "FA6302", "No snapshot can be used", "no snapshot can be used: {reason}"
)

# --- snapshots

DAMAGED_PSEUDONYM_KEY: Final = Condition(
    "FA6303",
    "The key of the pseudonyms is damaged",
    "{path} is damaged",
    "restore it from a backup (a new one makes every patient a new one)",
)
SNAPSHOT_LACKS_COLUMN: Final = Condition(
    "FA6304",
    "A snapshot has no such column",
    "the snapshot has no column {column!r}",
    "add it to the dataset and snapshot anew",
)
SNAPSHOT_UNREADABLE: Final = Condition(
    "FA6305",
    "A snapshot's file cannot be read",
    "the snapshot's file cannot be read",
    "make it anew: sudo fedagent dataset snapshot",
)
SNAPSHOT_DAMAGED: Final = Condition(
    "FA6307",
    "A snapshot's files are damaged, or not all there",
    "the current snapshot of {dataset} is damaged or incomplete",
    "sudo fedagent dataset snapshot {dataset}",
)
SNAPSHOT_NOT_STORED: Final = Condition(
    "FA6308",
    "A snapshot cannot be stored",
    "cannot store the snapshot in {folder}: {reason}",
    "free space there",
)
SNAPSHOT_VANISHED: Final = Condition(
    "FA6309",
    "A new snapshot is gone again",
    "the snapshot of {dataset} vanished from {folder}",
    "let nobody else write there",
)
ROWS_NOT_WORKED_ON: Final = Condition(
    "FA6310",
    "Rows cannot be worked on",
    "cannot work on the rows in {folder}",
    "is its disk full? free space there",
)
NO_ROWS_LEFT: Final = Condition(
    "FA6311",
    "All rows were left out",
    "dataset {dataset}: no rows are left: the patients of all rows opted out, or their identifier is missing",
    "look at `patient` and `opt_out`",
)
SOURCES_EMPTY: Final = Condition(
    "FA6312",
    "A dataset's sources are empty",
    "dataset {dataset}: no rows are left: its sources are empty",
    "look at `path` or `query`",
)
SNAPSHOT_BUSY: Final = Condition(
    "FA6313",
    "A snapshot is being made already",
    "a snapshot of {dataset} is being made already",
    "wait for it to end",
)

# --- a dataset's file

NO_DATASET: Final = _configuration(
    "FA6314",
    "No dataset of that name",
    "there is no dataset {name!r} in {folder} (known: {known})",
    "write {path}",
)
DATASET_EXISTS: Final = _configuration(
    "FA6315", "The dataset is there already", "{path} is there already", "edit it, or remove it first"
)
DATASET_MISNAMED: Final = _configuration(
    "FA6316",
    "A dataset's name is not its file's",
    "{path}: name: is {found!r}, but the file is named for {name!r}",
    "rename one of them",
)
OPT_OUT_WITHOUT_PATIENT: Final = _configuration(
    "FA6317",
    "An opt-out list without a patient column",
    "{path}: opt_out: needs `patient`",
    "name the local column that identifies the patient",
)
NOT_ABSOLUTE: Final = _configuration(
    "FA6318", "A path is not absolute", "{path}: {key}: must be an absolute path", "begin it with /"
)
NOT_A_SOCKET_FOLDER: Final = _configuration(
    "FA6319",
    "Not the folder of a unix socket",
    "{path}: {key}: must be the folder of the server's unix socket",
    "write it as /run/postgresql",
)
COLUMNS_WITH_HEADER: Final = _configuration(
    "FA6320",
    "Columns are named though there is a header line",
    "{path}: {key}: is for a file without a header line",
    "set header = false, or leave it out",
)
COLUMNS_MISSING: Final = _configuration(
    "FA6321",
    "A file without a header line needs columns",
    "{path}: {key}: a file without a header line needs the names of its columns",
    "list them in their order",
)
COLUMN_NAMED_TWICE: Final = _configuration(
    "FA6322", "A column is named twice", "{path}: {key}: {column!r} is named twice", "name each once"
)
COLUMN_MAPPED_TWICE: Final = _configuration(
    "FA6323",
    "A study column is there twice",
    "{path}: columns.{column}: is there twice (capital letters make no difference)",
    "remove one",
)
NOT_A_STUDY_COLUMN: Final = _configuration(
    "FA6324",
    "Not what studies call a column",
    "{path}: columns.{column!r}: what studies call a column is letters, digits and underscores",
    "put the local name into `from`",
)
CODE_MAPPED_TWICE: Final = _configuration(
    "FA6325",
    "A code is mapped twice",
    "{path}: columns.{column}.values: the code {code} is mapped twice (codes that are numbers compare as numbers)",
    "remove one",
)
CODE_NOT_A_NUMBER: Final = _configuration(
    "FA6326",
    "A code's value is not a number",
    "{key}: {value!r} is not a number",
    'correct it, or set type = "text"',
)
CODE_NOT_A_BOOLEAN: Final = _configuration(
    "FA6327",
    "A code's value is not true or false",
    "{key}: {value!r} is neither true nor false",
    'correct it, or set type = "text"',
)
OPT_OUT_NOT_READABLE: Final = _configuration(
    "FA6328",
    "The opt-out list cannot be read",
    "cannot read the opt-out list {path}: {reason}",
    "let the trainer's user read it; no snapshot is made without it",
)
OPT_OUT_NOT_UTF8: Final = _configuration(
    "FA6329", "The opt-out list is not UTF-8", "the opt-out list {path} is not UTF-8", "save it as UTF-8"
)

# --- rows that do not fit their columns

UNLISTED_CODES: Final = Condition(
    "FA6330",
    "Rows hold a code that is not listed",
    "column {column}: {rows} rows of {source} (the first is row {row}) hold a code that columns.{column}.values does not list",
    'add it there (= "" if it means not known)',
)
NOT_NUMBERS: Final = Condition(
    "FA6331",
    "Rows hold what is no number",
    "column {column}: {rows} rows of {source} (the first is row {row}) are not a number",
    'add the code for "not known" to `missing`, or set type = "text"',
)
NOT_BOOLEANS: Final = Condition(
    "FA6332",
    "Rows hold neither true nor false",
    "column {column}: {rows} rows of {source} (the first is row {row}) are not true or false",
    'add the code for "not known" to `missing`, or set type = "text"',
)

# --- files of rows

NO_SOURCE_FILE: Final = Condition(
    "FA6333", "A source's file is not there", "there is no file {path}", "correct the path"
)
SOURCE_NOT_A_FILE: Final = Condition(
    "FA6334", "A source is not a file", "{path} is not a file", "correct the path"
)
COLUMN_MORE_THAN_ONCE: Final = _configuration(
    "FA6335",
    "A source has a column more than once",
    "{source} has more than one column {column!r} ({key})",
    "rename them there",
)
NO_HEADER_FOR_COLUMN: Final = _configuration(
    "FA6336",
    "A source's first line seems to be data",
    "{source} has no column {column!r} ({key}): its first line seems to be data",
    "without a header line set header = false and `columns`",
)
NO_COLUMN_NEAR: Final = _configuration(
    "FA6337",
    "A source has no such column, one like it",
    "{source} has no column {column!r} ({key})",
    "did you mean {near!r}?",
)
NO_COLUMN: Final = _configuration(
    "FA6338",
    "A source has no such column",
    "{source} has no column {column!r} ({key})",
    "correct `from` or `delimiter` in the dataset's file",
)
NOT_PARQUET: Final = Condition(
    "FA6339", "Not a Parquet file", "{path} is not a Parquet file that can be read", "write it anew"
)
NOT_A_HEADER: Final = Condition(
    "FA6340",
    "A file's first line is not a header line",
    "{path}:1 is not a header line",
    "set header = false and `columns`",
)
NO_HEADER: Final = Condition(
    "FA6341", "A file has no header line", "{path} has no header line", "is it empty?"
)
FIRST_LINE_HOLDS_NUMBERS: Final = Condition(
    "FA6342",
    "A file's first line seems to be data",
    "{path}:1 holds numbers, so it seems to be data",
    "write the dataset's file by hand, with header = false and `columns`",
)
IS_UTF16: Final = Condition("FA6343", "A file is UTF-16", "{path} is UTF-16", "save it as UTF-8")
NOT_A_CSV_LINE: Final = Condition(
    "FA6344",
    "A line is too long or holds a NUL byte",
    "{path}:{line} is longer than {limit_bytes} bytes or holds a NUL byte",
    "is it a CSV file?",
)
IS_UTF8: Final = Condition(
    "FA6345",
    "A file said to be Latin-1 holds UTF-8",
    "{path}:{line} is UTF-8, not Latin-1",
    'save all of it as UTF-8, and drop encoding = "latin-1"',
)
NOT_LATIN1: Final = Condition(
    "FA6346", "A file is not Latin-1", "{path}:{line} is not Latin-1 (Windows-1252?)", "save it as UTF-8"
)
MIXED_ENCODINGS: Final = Condition(
    "FA6347",
    "A file mixes encodings",
    "{path}:{line} is not UTF-8, but line {utf8_line} is: the file mixes encodings",
    "save all of it as UTF-8",
)
NOT_UTF8: Final = Condition(
    "FA6348",
    "A file is not UTF-8",
    "{path}:{line} is not UTF-8",
    'save it as UTF-8, or set encoding = "latin-1" for this source',
)
WRONG_WIDTH: Final = Condition(
    "FA6349",
    "A line has too many columns or too few",
    "{place} has {found} columns, expected are {expected}",
    "correct the file, or `columns` and `delimiter`",
)
NOT_READ_TO_ITS_END: Final = Condition(
    "FA6350",
    "A file cannot be read to its end",
    "{place} cannot be read to its end",
    "is there space in the trainer's state folder?",
)
NOT_READ: Final = Condition(
    "FA6351", "A file of rows cannot be read", "{place} cannot be read", "check its quotes and its delimiter"
)

# --- PostgreSQL

NO_DATABASE_SERVER: Final = _unavailable(
    "FA6352",
    "No PostgreSQL server answers",
    "{source}: no server answers at {path}",
    "start it, or correct `socket` and `port`",
)
MAY_NOT_SELECT: Final = Condition(
    "FA6353",
    "The role may not read a table",
    "{source}: role {user} may not read what the query names",
    "GRANT SELECT ON it TO {user}",
)
NO_SUCH_TABLE: Final = Condition(
    "FA6354",
    "The query names a table that does not exist",
    "{source}: a table in the query does not exist",
    "correct `query`",
)
NO_SUCH_COLUMN: Final = Condition(
    "FA6355",
    "The query names a column that does not exist",
    "{source}: a column in the query does not exist",
    "correct `query`",
)
COLUMN_NAMES_CLASH: Final = Condition(
    "FA6356",
    "Two columns of the query have one name",
    "{source}: two columns of the query have one name",
    "rename one with AS",
)
NOT_ONE_SELECT: Final = Condition(
    "FA6357", "The query is not one SELECT", "{source}: the query is not one SELECT", "correct `query`"
)
QUERY_CHANGES: Final = Condition(
    "FA6358",
    "The query wants to change something",
    "{source}: the query wants to change something",
    "write a SELECT",
)
ROLE_NOT_LET_IN: Final = Condition(
    "FA6359",
    "The server does not let the role in",
    "{source}: the server does not let role {user} in",
    "add to pg_hba.conf: local {database} {user} peer map=...",
)
NO_SUCH_DATABASE: Final = Condition(
    "FA6361", "There is no such database", "{source}: there is no such database", "correct `database`"
)
QUERY_CANCELLED: Final = Condition(
    "FA6362",
    "The server cancelled the query",
    "{source}: the server cancelled the query",
    "run it again, or give role {user} a longer statement_timeout",
)
SERVER_REFUSED: Final = Condition(
    "FA6363",
    "The server refused, or went away",
    "{source}: the server refused, or went away (SQLSTATE {code})",
    "see its log",
)

# --- whether a dataset fits a study

COLUMN_UNFIT: Final = _warned(
    "FA6364",
    "A column is of another type than the study's",
    "column {column!r} holds {held}, the study wants {wanted}",
    "correct the dataset's mapping",
)
COLUMN_NOT_TEXT: Final = _warned(
    "FA6365",
    "A column holds numbers where the study has words",
    "column {column!r} holds {held}, the study wants one of its categories as text",
    "correct the dataset's mapping",
)
COLUMN_LACKING: Final = _warned(
    "FA6366",
    "A dataset lacks a column of the study",
    "column {column!r} is not in the dataset",
    "add [columns.{column}] to its file, and snapshot it anew",
)
COLUMN_LACKING_NEAR: Final = _warned(
    "FA6367",
    "A dataset lacks a column of the study, one like it is there",
    "column {column!r} is not in the dataset",
    "is {near!r} the same? add [columns.{column}] to its file, and snapshot it anew",
)
CLASS_ABSENT: Final = _warned(
    "FA6368",
    "No training row is of some class",
    "no training row is of class {classes}",
    "look at columns.{column}.values",
)
TOO_FEW_TEST_PATIENTS: Final = _warned(
    "FA6369",
    "Too few patients are left for test",
    "fewer than {minimum} patients are left for test: no metric will leave",
)
EVERY_DATASET_FITS: Final = _told(
    "FA6370", "A study reads no patient data", "the study reads no patient data: every dataset fits"
)
