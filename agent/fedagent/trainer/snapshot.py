# SPDX-License-Identifier: Apache-2.0
"""The snapshot program: makes a dataset's next snapshot, checks it against a study, lists what there is.

Rule: the only program that reads a patient's row where the hospital keeps it. It runs no study's code, has no network
but the database's unix socket, and prints names and counts, never a value.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from fedagent.conditions.commands import WHICH_DATASET
from fedagent.conditions.condition import ExitCode
from fedagent.conditions.data import NO_SNAPSHOT_YET
from fedagent.core.settings import Settings
from fedagent.errors import DataError, FedagentError, UsageError
from fedagent.journal import coded, plain
from fedagent.storage.room import MIB
from fedagent.storage.settings import read_settings
from fedagent.storage.toml import read_toml
from fedagent.trainer.datasets import DatasetDefinition, definition_digest, read_definition
from fedagent.trainer.draft import draft_definition
from fedagent.trainer.fit import check_fit, fit_text
from fedagent.trainer.making import Made, make_snapshot
from fedagent.trainer.small_counts import few
from fedagent.trainer.snapshots import SnapshotRecord, SnapshotStore
from fedagent.wire.study import Study

DEFAULT_CONFIG: Final = Path("/etc/fedagent/fedagent.toml")


class SnapshotAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot as JSON shows it; the counts are rows that this run left out."""

    dataset: str
    digest: str
    rows: int
    patients: int
    columns: tuple[str, ...]
    created_at: str
    changed: bool
    opted_out: int | str
    without_patient: int | str
    evicted: tuple[str, ...]


class DatasetAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset and its current snapshot as JSON shows them.

    Attributes:
        outdated: whether the definition was changed after the snapshot was made.
        problem: what is wrong with the definition.
    """

    dataset: str
    description: str = ""
    digest: str | None = None
    rows: int | None = None
    created_at: str | None = None
    outdated: bool = False
    problem: str | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code of one run: 0 done, 1 the data do not fit, the others as in ``fedagent.errors``."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options, read_settings(options.config))
    except FedagentError as error:
        print(f"fedagent: {plain(coded(error.said))}", file=sys.stderr)  # noqa: T201
        return error.exit_code


def _run(options: argparse.Namespace, settings: Settings) -> int:
    if options.list:
        return _list(options, settings)
    if options.name is None:
        raise UsageError(WHICH_DATASET())
    if options.draft is not None:
        print(draft_definition(options.name, str(options.draft.absolute()), options.patient), end="")  # noqa: T201
        return 0
    definition = read_definition(Path(settings.paths.datasets), options.name)
    if options.check is not None:
        return _check(options, settings)
    made = make_snapshot(
        Path(settings.paths.trainer_state),
        definition,
        datetime.now(UTC),
        budget_bytes=settings.trainer.snapshot_budget_mib * MIB,
    )
    _print(options, _answer(made), _made_text(made))
    return 0


def _check(options: argparse.Namespace, settings: Settings) -> int:
    study = read_toml(options.check, Study)
    record = _store(settings).current(options.name)
    if record is None:
        raise DataError(NO_SNAPSHOT_YET(dataset=options.name))
    fit = check_fit(study, record)
    _print(options, fit, fit_text(fit))
    return 0 if fit.fits else ExitCode.FAILED


def _list(options: argparse.Namespace, settings: Settings) -> int:
    folder = Path(settings.paths.datasets)
    records = {record.dataset: record for record in _store(settings).all()}
    names = sorted({path.stem for path in folder.glob("*.toml")} | set(records))
    answers = [_dataset(folder, name, records.get(name)) for name in names]
    empty = f"no datasets in {folder}: sudo fedagent dataset add NAME --csv FILE"
    _print(options, answers, "\n".join(map(_dataset_text, answers)) or empty)
    return 0


def _dataset(folder: Path, name: str, record: SnapshotRecord | None) -> DatasetAnswer:
    definition, problem = None, None
    try:
        definition = read_definition(folder, name)
    except FedagentError as error:
        problem = str(error)
    return DatasetAnswer(
        dataset=name,
        description=definition.description if definition else "",
        digest=record.digest.hex() if record else None,
        rows=record.rows if record else None,
        created_at=record.note.created_at if record else None,
        outdated=_is_outdated(definition, record),
        problem=problem,
    )


def _is_outdated(definition: DatasetDefinition | None, record: SnapshotRecord | None) -> bool:
    return bool(definition and record and record.note.definition != definition_digest(definition).hex())


def _store(settings: Settings) -> SnapshotStore:
    return SnapshotStore(Path(settings.paths.trainer_state) / "snapshots")


def _answer(made: Made) -> SnapshotAnswer:
    record = made.record
    return SnapshotAnswer(
        dataset=record.dataset,
        digest=record.digest.hex(),
        rows=record.rows,
        patients=record.note.patients,
        columns=tuple(column.name for column in record.columns),
        created_at=record.note.created_at,
        changed=made.changed,
        opted_out=few(made.counts.opted_out),
        without_patient=few(made.counts.without_patient),
        evicted=tuple(path.stem for path in made.evicted),
    )


def _made_text(made: Made) -> str:
    record, counts = made.record, made.counts
    state = "" if made.changed else " (unchanged)"
    what = f"{record.rows} rows of {record.note.patients} patients, {len(record.columns)} columns"
    lines = [f"dataset {record.dataset}: snapshot {record.digest.hex()[:12]}{state}, {what}"]
    if counts.opted_out:
        lines.append(f"left out: {few(counts.opted_out)} rows of patients who opted out")
    if counts.without_patient:
        lines.append(f"left out: {few(counts.without_patient)} rows without a patient identifier")
    lines += [
        f"removed: snapshot {path.stem[:12]} of {path.parent.name}, to stay in trainer.snapshot_budget_mib"
        for path in made.evicted
    ]
    return "\n".join(lines)


def _dataset_text(answer: DatasetAnswer) -> str:
    if answer.digest is None:
        state = "no snapshot yet"
    else:
        state = f"snapshot {answer.digest[:12]}, {answer.rows} rows, {answer.created_at}"
    outdated = "; its definition was changed since: snapshot it anew" if answer.outdated else ""
    problem = f"; {answer.problem}" if answer.problem else ""
    return f"{answer.dataset}: {state}{outdated}{problem}"


def _print(options: argparse.Namespace, answer: object, text: str) -> None:
    """JSON, or the text; names and classes of a study come from afar, so that no character of theirs moves the cursor."""
    shown = msgspec.json.encode(answer).decode() if options.json else text
    print(*map(plain, shown.split("\n")), sep="\n")  # noqa: T201


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fedagent-snapshot", description="Make and check snapshots of local datasets."
    )
    parser.add_argument("name", nargs="?", help="the dataset: NAME of datasets.d/NAME.toml")
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--check", type=Path, metavar="STUDY.toml", help="say whether the current snapshot fits the study"
    )
    which.add_argument("--list", action="store_true", help="all datasets with their current snapshots")
    which.add_argument(
        "--draft", type=Path, metavar="FILE.csv", help="print a first definition for this file"
    )
    parser.add_argument(
        "--patient", metavar="COLUMN", help="with --draft: the column that identifies the patient"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
