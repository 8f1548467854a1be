# SPDX-License-Identifier: Apache-2.0
"""The tables of the aggregator's database.

Rule: a change of a table is a new version here and a step that brings the old one to it.
"""

from typing import Final

from fedagent.transport import mailbox, outbox

VERSION: Final = 1

SCHEMA: Final = f"""
{mailbox.SCHEMA}
{outbox.SCHEMA}
CREATE TABLE study (
    name TEXT PRIMARY KEY, definition BLOB NOT NULL, phase TEXT NOT NULL, created_at REAL NOT NULL,
    since REAL NOT NULL, reason TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE TABLE round (
    study TEXT NOT NULL REFERENCES study (name), number INTEGER NOT NULL, kind TEXT NOT NULL, quorum INTEGER NOT NULL,
    deadline_s REAL NOT NULL, opened_at REAL NOT NULL, deadline_at REAL NOT NULL, phase TEXT NOT NULL,
    since REAL NOT NULL, extensions INTEGER NOT NULL, closed_at REAL, reason TEXT NOT NULL, PRIMARY KEY (study, number)
) STRICT;
CREATE TABLE part (
    study TEXT NOT NULL, round INTEGER NOT NULL, site TEXT NOT NULL, phase TEXT NOT NULL, since REAL NOT NULL,
    trainer_key BLOB, blob BLOB, reason TEXT, text TEXT NOT NULL, progress TEXT NOT NULL DEFAULT '', PRIMARY KEY (study, round, site)
) STRICT, WITHOUT ROWID;
CREATE TABLE upload (
    study TEXT NOT NULL, round INTEGER NOT NULL, site TEXT NOT NULL, blob BLOB NOT NULL, manifest BLOB NOT NULL,
    key BLOB NOT NULL, rows INTEGER NOT NULL, PRIMARY KEY (study, round, site)
) STRICT;
CREATE TABLE result (
    study TEXT NOT NULL, round INTEGER NOT NULL, site TEXT NOT NULL, rows INTEGER NOT NULL, snapshot BLOB NOT NULL,
    metrics BLOB NOT NULL, PRIMARY KEY (study, round, site)
) STRICT;
CREATE TABLE model (
    study TEXT NOT NULL REFERENCES study (name), number INTEGER NOT NULL, reference BLOB NOT NULL, manifest BLOB NOT NULL,
    key BLOB NOT NULL, made_at REAL NOT NULL, PRIMARY KEY (study, number)
) STRICT;
CREATE TABLE instance (
    number INTEGER PRIMARY KEY, site TEXT NOT NULL, instance BLOB NOT NULL, twin INTEGER NOT NULL DEFAULT 0,
    UNIQUE (site, instance)
) STRICT;
CREATE TABLE site (
    name TEXT PRIMARY KEY, online INTEGER NOT NULL, since REAL NOT NULL, version TEXT NOT NULL,
    verdict TEXT NOT NULL DEFAULT '', reason TEXT NOT NULL DEFAULT '', heard_at REAL NOT NULL, training_expected_at REAL,
    error_code TEXT NOT NULL DEFAULT '', error_text TEXT NOT NULL DEFAULT '', error_at REAL
) STRICT;
"""
