# SPDX-License-Identifier: Apache-2.0
"""``fedaggregator model``: list and export global models.

Rule: an exported file is checked against its digest, and its model card lies beside it.
"""

import argparse
from pathlib import Path

from fedagent.aggregator.card import model_card
from fedagent.aggregator.metrics import best_model
from fedagent.aggregator.models import Models
from fedagent.aggregator.reports import model_statuses
from fedagent.aggregator.store import ModelRecord, Store, StudyRecord
from fedagent.cli import aggregator_options as options
from fedagent.cli.output import local_time, print_json, print_lines
from fedagent.conditions.aggregator import MODEL_GONE
from fedagent.conditions.commands import NO_SUCH_MODEL, NOT_MEASURED
from fedagent.errors import StorageError, UsageError
from fedagent.storage.blobs import BlobFolder
from fedagent.storage.files import write_atomically


def add_commands(commands: options.Commands) -> None:
    """Adds the commands."""
    group = options.group(commands, "model", "list and export global models")
    table = options.command(group, "list", "every model of a study and its metrics", run_list)
    table.add_argument("study", metavar="STUDY")
    options.add_json(table)
    export = options.command(group, "export", "write a model as safetensors, with its model card", run_export)
    export.add_argument("study", metavar="STUDY")
    export.add_argument("file", type=Path, metavar="FILE")
    which = export.add_mutually_exclusive_group()
    which.add_argument("--round", type=int, metavar="N", help="the model after round N (0: the initial one)")
    which.add_argument("--best", action="store_true", help="the model with the best metric")
    which.add_argument("--final", action="store_true", help="the newest model (default)")


def run_list(arguments: argparse.Namespace) -> int:
    """Prints the models."""
    with options.opened_store(options.settings(arguments)) as store:
        found = model_statuses(store, store.study(arguments.study))
    if arguments.json:
        print_json(found)
        return 0
    if not found:
        print_lines(f"study {arguments.study} has no model yet: fedaggregator study status {arguments.study}")
    for each in found:
        metrics = ", ".join(f"{name} {value:.4f}" for name, value in each.metrics.items())
        best = " best" if each.best else ""
        print_lines(
            f"{each.number:>6} {local_time(each.made_at)} {each.plaintext[:16]}{best} {metrics}".rstrip()
        )
    return 0


def run_export(arguments: argparse.Namespace) -> int:
    """Writes model and card."""
    settings = options.settings(arguments)
    with options.opened_store(settings) as store:
        record = store.study(arguments.study)
        model = _chosen(store, record, arguments)
        card = model_card(record.study, model, store.results(record.study.name), arguments.file.name)
    models = Models(settings.models, BlobFolder(settings.blobs))
    if not models.has(model.reference.plaintext):
        raise StorageError(MODEL_GONE(study=model.study, number=model.number))
    size = models.export(model.reference.plaintext, arguments.file)
    beside = arguments.file.with_suffix(".md")
    write_atomically(beside, card.encode(), mode=0o644)
    print_lines(f"wrote {arguments.file} ({size} bytes, model after round {model.number}) and {beside}")
    return 0


def _chosen(store: Store, record: StudyRecord, arguments: argparse.Namespace) -> ModelRecord:
    name = record.study.name
    if arguments.best:
        number = best_model(store.results(name), record.study.federation.best_by)
        if number is None:
            raise UsageError(NOT_MEASURED(study=name))
        model = store.model(name, number)
    elif arguments.round is not None:
        model = store.model(name, arguments.round)
    else:
        model = store.newest_model(name)
    if model is None:
        raise UsageError(NO_SUCH_MODEL(study=name))
    return model
