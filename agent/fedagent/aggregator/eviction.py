# SPDX-License-Identifier: Apache-2.0
"""Which models' files go when all of them take more room than they may.

Rule: oldest first, over all studies; never a study's newest model, which its sites or people need, nor its best. What a model
was (its row: digest, metrics, when) stays.
"""

import logging

from fedagent.aggregator.metrics import best_model
from fedagent.aggregator.models import Models
from fedagent.aggregator.store import ModelRecord, Store, StudyRecord
from fedagent.conditions.aggregator import MODEL_EVICTED
from fedagent.journal import tell
from fedagent.storage.room import MIB

log = logging.getLogger(__name__)


def stay_in_budget(store: Store, models: Models, budget_bytes: int) -> None:
    """Files of models are removed, one line of the journal each, until the rest stays within the budget."""
    over = models.size_bytes() - budget_bytes
    if over <= 0:
        return
    kept: set[bytes] = set()
    rest: list[ModelRecord] = []
    for study in store.studies():
        records = store.models(study.study.name)
        kept |= _kept(store, study, records)
        rest += records
    for record in sorted(rest, key=lambda each: (each.made_at, each.study, each.number)):
        plaintext = record.reference.plaintext
        if over > 0 and plaintext not in kept and models.has(plaintext):
            size = models.forget(plaintext)
            tell(log, MODEL_EVICTED(study=record.study, number=record.number, size_mib=-(-size // MIB)))
            over -= size


def _kept(store: Store, study: StudyRecord, records: tuple[ModelRecord, ...]) -> set[bytes]:
    best = best_model(store.results(study.study.name), study.study.federation.best_by)
    numbers = {best, records[-1].number if records else None}
    return {each.reference.plaintext for each in records if each.number in numbers}
