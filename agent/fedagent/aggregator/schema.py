# SPDX-License-Identifier: Apache-2.0
"""The tables of the aggregator's database.

Rule: a change of a table is a step that brings the version before to it; a step that was released is not changed any more.
"""

from typing import Final

from fedagent.transport import mailbox, outbox

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

_SINCE: Final = """
CREATE TABLE new_study (
    name TEXT PRIMARY KEY, definition BLOB NOT NULL, phase TEXT NOT NULL, created_at REAL NOT NULL,
    since REAL NOT NULL, reason TEXT NOT NULL DEFAULT ''
) STRICT;
INSERT INTO new_study SELECT name, definition, phase, created_at, created_at, reason FROM study;
DROP TABLE study;
ALTER TABLE new_study RENAME TO study;
CREATE TABLE new_round (
    study TEXT NOT NULL REFERENCES study (name), number INTEGER NOT NULL, kind TEXT NOT NULL, quorum INTEGER NOT NULL,
    deadline_s REAL NOT NULL, opened_at REAL NOT NULL, deadline_at REAL NOT NULL, phase TEXT NOT NULL,
    since REAL NOT NULL, extensions INTEGER NOT NULL, closed_at REAL, reason TEXT NOT NULL, PRIMARY KEY (study, number)
) STRICT;
INSERT INTO new_round SELECT study, number, kind, quorum, deadline_s, opened_at, deadline_at, phase,
    coalesce(closed_at, opened_at), extensions, closed_at, reason FROM round;
CREATE TABLE new_part (
    study TEXT NOT NULL, round INTEGER NOT NULL, site TEXT NOT NULL, phase TEXT NOT NULL, since REAL NOT NULL,
    trainer_key BLOB, blob BLOB, reason TEXT, text TEXT NOT NULL, progress TEXT NOT NULL DEFAULT '', PRIMARY KEY (study, round, site)
) STRICT, WITHOUT ROWID;
INSERT INTO new_part SELECT part.study, part.round, site, part.phase, opened_at, trainer_key, blob, part.reason, text, progress
    FROM part JOIN round ON round.study = part.study AND round.number = part.round;
DROP TABLE part;
ALTER TABLE new_part RENAME TO part;
DROP TABLE round;
ALTER TABLE new_round RENAME TO round;
CREATE TABLE new_site (
    name TEXT PRIMARY KEY, online INTEGER NOT NULL, since REAL NOT NULL, version TEXT NOT NULL,
    verdict TEXT NOT NULL DEFAULT '', reason TEXT NOT NULL DEFAULT '', heard_at REAL NOT NULL, training_expected_at REAL,
    error_code TEXT NOT NULL DEFAULT '', error_text TEXT NOT NULL DEFAULT '', error_at REAL
) STRICT;
INSERT INTO new_site (name, online, since, version, verdict, reason, heard_at, training_expected_at)
    SELECT name, online, heard_at, version, verdict, reason, heard_at, training_expected_at FROM site;
DROP TABLE site;
ALTER TABLE new_site RENAME TO site
"""
"""Version 2: since when everything is where it is."""

_INSTANCES: Final = """
CREATE TABLE instance (
    number INTEGER PRIMARY KEY, site TEXT NOT NULL, instance BLOB NOT NULL, twin INTEGER NOT NULL DEFAULT 0,
    UNIQUE (site, instance)
) STRICT
"""
"""Version 3: the machines that spoke for a site, so that a copy is noticed."""

STEPS: Final = (_SINCE, _INSTANCES)
