# SPDX-License-Identifier: Apache-2.0
"""Deletes the files that a process which died left behind."""

from fedagent.aggregator.intake import Intake
from fedagent.aggregator.models import Models
from fedagent.aggregator.store import Store
from fedagent.aggregator.tables import StudyPhase


def sweep(store: Store, models: Models, intake: Intake) -> None:
    """What no row of the store needs is gone; only before any job runs."""
    blobs, velocities, plaintexts = set(), set(), set()
    for record in store.studies():
        name = record.study.name
        plaintexts |= {model.reference.plaintext for model in store.models(name)}
        newest = store.newest_model(name)
        if newest and record.phase is StudyPhase.RUNNING:
            blobs.add(newest.reference.blob)
            velocities.add(models.velocity(name, newest.number))
    models.sweep(plaintexts=plaintexts, blobs=blobs, velocities=velocities)
    intake.sweep(store.waiting_blobs())
