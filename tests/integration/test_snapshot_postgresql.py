# SPDX-License-Identifier: Apache-2.0
"""Snapshots of a real PostgreSQL server over its unix socket."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from fedagent.errors import DataError, FedagentError
from fedagent.trainer.datasets import PostgresqlSource
from fedagent.trainer.postgresql import BATCH_ROWS, PostgresqlTable
from tests.fakes.datasets import DataHospital
from tests.fakes.postgresql import PostgresqlServer, running_server

AGE = {"age": {"type": "number"}}
MANY = 2 * BATCH_ROWS + 17


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    with running_server() as server:
        server.sql(
            "CREATE TABLE heart (mrn integer, age double precision, sex text, smokes boolean, seen date)",
            "INSERT INTO heart VALUES (7, 63.1, 'm', true, '2020-01-31'), (8, NULL, 'f', false, NULL)",
            "INSERT INTO heart VALUES (9, 'NaN', NULL, NULL, '2021-12-01')",
            "CREATE TABLE secret (age integer)",
            "CREATE TABLE log (at timestamptz)",
            "CREATE FUNCTION spy() RETURNS integer LANGUAGE sql AS 'INSERT INTO log VALUES (now()); SELECT 1'",
            "CREATE ROLE reader LOGIN",
            "CREATE ROLE refused LOGIN",
            "GRANT SELECT ON heart TO reader",
            "GRANT INSERT ON log TO reader",
        )
        yield server


@pytest.fixture
def hospital(tmp_path: Path) -> DataHospital:
    return DataHospital(tmp_path / "hospital")


def test_a_query_and_a_file_of_the_same_rows_have_the_same_digest(
    server: PostgresqlServer, hospital: DataHospital
) -> None:
    columns = {
        "age": {"type": "number"},
        "sex": {"type": "text", "values": {"m": "male", "f": "female"}},
        "smokes": {"type": "boolean"},
        "seen": {"type": "text"},
    }
    hospital.define("heart", [server.source("SELECT * FROM heart;")], columns, patient="mrn")
    first = hospital.make().record
    assert first.note.sources == ("postgresql",)
    rows = "mrn,age,sex,smokes,seen\n9,,,,2021-12-01\n7,63.1,m,1,2020-01-31\n8,?,f,0,\n"
    hospital.define_csv(rows, columns, patient="mrn")
    assert hospital.make().record.digest == first.digest


def test_many_rows_come_in_batches_with_their_numbers(
    server: PostgresqlServer, hospital: DataHospital
) -> None:
    query = f"SELECT i AS mrn, CASE WHEN i = {MANY} THEN 'x' ELSE (i % 90)::text END AS age FROM generate_series(1, {MANY}) i"  # noqa: S608
    hospital.define("heart", [server.source(query)], AGE, patient="mrn")
    with pytest.raises(
        DataError, match=rf"postgresql:///postgres \(the first is row {MANY}\) are not a number"
    ):
        hospital.make()
    hospital.define("heart", [server.source(query, missing=["x"])], AGE, patient="mrn")
    record = hospital.make().record
    assert (record.rows, record.note.patients) == (MANY, MANY)


def test_who_opted_out_is_left_out(server: PostgresqlServer, hospital: DataHospital) -> None:
    opt_out = hospital.write("opt-out.txt", "8\n")
    hospital.define("heart", [server.source("TABLE heart")], AGE, patient="mrn", opt_out=str(opt_out))
    assert hospital.make().counts.opted_out == 1


def test_a_snapshot_is_of_one_instant(server: PostgresqlServer) -> None:
    source = msgspec.convert(server.source("SELECT mrn FROM heart"), PostgresqlSource)
    with closing(PostgresqlTable(source)) as table:
        server.sql("INSERT INTO heart VALUES (10, 1, 'm', true, NULL)")
        try:
            assert sum(map(len, table.batches(["mrn"]))) == 3
        finally:
            server.sql("DELETE FROM heart WHERE mrn = 10")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"query": "SELECT * FROM secret"}, "role reader may not read what the query names"),
        ({"query": "SELECT * FROM nowhere"}, "a table in the query does not exist"),
        ({"query": "SELECT aeg FROM heart"}, "a column in the query does not exist"),
        ({"query": "SELECT age AS aeg FROM heart"}, "has no column 'age' (columns.age); did you mean 'aeg'?"),
        ({"query": "DELETE FROM heart"}, "the query is not one SELECT"),
        ({"query": "SELECT 1 AS age) AS x; DROP TABLE heart; --"}, "the query is not one SELECT"),
        ({"query": "SELECT spy() AS age"}, "the query wants to change something"),
        ({"query": "SELECT age, age FROM heart"}, "two columns of the query have one name"),
        ({"query": "SELECT 'SENTINEL'::integer AS age"}, "SQLSTATE 22P02"),
        ({"query": "SELECT (sex || 'SENTINEL')::integer AS age FROM heart"}, "SQLSTATE 22P02"),
        ({"database": "clinic"}, "there is no such database"),
        ({"user": "refused"}, "the server does not let role refused in"),
        ({"port": 5433}, "no server answers at"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_the_server_refuses_is_told_in_one_line_without_a_value(
    server: PostgresqlServer, hospital: DataHospital, change: dict[str, object], words: str
) -> None:
    hospital.define("heart", [server.source("SELECT * FROM heart") | change], AGE)
    with pytest.raises(FedagentError) as caught:
        hospital.make()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "SENTINEL" not in str(caught.value)
    server.sql(
        "SELECT 1 / (count(*) - 2) FROM heart", "DO $$ BEGIN ASSERT (SELECT count(*) FROM log) = 0; END $$"
    )
