# SPDX-License-Identifier: Apache-2.0
"""One example of each message, frame and sealed content, with every optional field set."""

import msgspec

from fedagent.wire import frames as f
from fedagent.wire import messages as m
from fedagent.wire import study as s
from fedagent.wire.manifest import Manifest

BLOB = bytes(range(32))
OTHER = bytes(range(32, 64))
SEALED = bytes(range(48))
KEY = b"\x09" + bytes(31)

STUDY = s.Study(
    name="heart-1",
    purpose="Predict heart disease from thirteen routine values.",
    contact="study@example.org",
    task=s.TabularClassifier(
        columns=(
            s.Numeric(name="age", unit="a", minimum=18.0, maximum=120.0, mean=54.5, standard_deviation=9.0),
            s.Category(name="chest_pain", categories=("1", "2", "3", "4"), baseline="4"),
            s.Boolean(name="angina"),
        ),
        label=s.Label(column="disease", classes=("no", "yes")),
        optimizer=s.Sgd(learning_rate=0.1, momentum=0.9, weight_decay=0.001),
        work=s.Epochs(amount=2),
        batch_size=32,
        split=s.SeededSplit(test_ratio=0.25, seed=7),
        missing="mean",
        normalisation=s.FixedNormalisation(),
        hidden=(16, 8),
        activation="tanh",
    ),
    federation=s.Federation(
        rounds=10,
        sites=("clinic-a", "clinic-b", "clinic-c"),
        quorum=2,
        deadline_s=86_400.0,
        aggregation=s.FedProx(proximal=0.01, server_learning_rate=0.5, server_momentum=0.9),
        best_by="auc",
        early_stopping=s.EarlyStopping(patience=3, min_delta=0.001),
    ),
    privacy=s.Privacy(minimum_cell=20, clip_norm=1.5),
    seed=42,
    chunk_bytes=262_144,
)

OTHER_STUDY = s.Study(
    name="transfer-1",
    purpose="Measure the transfer.",
    contact="study@example.org",
    task=s.Identity(parameters=1_000_000, tensors=3, increment=0.5),
    federation=s.Federation(rounds=1, sites=("clinic-a",), quorum=1, deadline_s=60.0),
)

METRICS = (
    m.MetricValue(name="auc", value=0.875, count=61),
    m.MetricValue(name="loss", value=0.5, count=61),
)

SITE_MESSAGES: tuple[m.Message, ...] = (
    m.Presence(
        online=True,
        version="0.1.0",
        protocol=1,
        capabilities=("cpu", "tabular-classifier/1"),
        verdict="wait",
        reason="someone is logged in",
        training_expected_at=1_772_366_400.0,
    ),
    m.Instance(instance=OTHER),
    m.SiteHello(
        version="0.1.0",
        protocol=1,
        positions=(m.StudyPosition(study="heart-1", round=3, phase="sealed", update=BLOB),),
    ),
    m.Join(study="heart-1", round=3, study_digest=OTHER, trainer_key=KEY),
    m.Want(study="heart-1", blob=BLOB, chunks=(0, 1, 17)),
    m.UpdateOffer(
        study="heart-1",
        round=3,
        manifest=Manifest(size_bytes=300_000, chunk_bytes=262_144, chunks=(BLOB, OTHER)),
        secret=SEALED,
    ),
    m.Progress(study="heart-1", round=3, phase="training", verdict="go", step=10, steps=50, loss=0.25),
    m.Decline(
        study="heart-1", round=3, reason=m.Reason.TOO_FEW_ROWS, text="too few patients are usable here"
    ),
)

AGGREGATOR_MESSAGES: tuple[m.Message, ...] = (
    m.AggregatorHello(version="0.1.0", protocol=1, studies=(m.OpenStudy(study="heart-1", round=3),)),
    m.Twin(instance=OTHER),
    m.Announcement(
        study=STUDY,
        round=3,
        round_kind=m.RoundKind.TRAIN,
        model=m.ModelReference(blob=BLOB, size_bytes=1240, chunk_bytes=262_144, plaintext=OTHER),
        aggregator_key=KEY,
        deadline_at=1_772_452_800.0,
    ),
    m.ModelKey(study="heart-1", round=3, blob=BLOB, secret=SEALED),
    m.Grant(study="heart-1", round=3, blob=BLOB, chunks=(1, 2), stored=1),
    m.Receipt(study="heart-1", round=3, blob=BLOB),
    m.Refusal(study="heart-1", round=3, reason=m.Reason.ROUND_CLOSED, text="closed at its deadline"),
    m.Cancel(study="heart-1", round=3, reason=m.Reason.STUDY_STOPPED, text="stopped by the study centre"),
)

FRAMES: tuple[f.Frame, ...] = (
    f.Ready(
        version="0.1.0",
        control="cgroup",
        supervisor_pid=100,
        worker_pid=101,
        trainer_key=KEY,
        snapshots=(f.SnapshotEntry(dataset="cardiology", digest=BLOB, rows=303),),
    ),
    f.JobRefused(study="heart-1", round=3, reason=m.Reason.REVOKED, text="not approved here"),
    f.JobProgress(study="heart-1", round=3, step=10, steps=50, checkpoint_step=8, loss=0.25),
    f.JobSealed(
        study="heart-1",
        round=3,
        chunk_bytes=262_144,
        secret=SEALED,
        rows=242,
        snapshot=BLOB,
        metrics=METRICS,
        norm=1.25,
    ),
    f.JobFailed(study="heart-1", round=3, reason=m.Reason.NOT_FINITE, text="the loss is not a number"),
    f.CheckpointDone(step=8),
    f.Job(study="heart-1", announcement=b"signed", model_key=SEALED, site="clinic-a"),
    f.CheckpointNow(),
    f.JobStop(study="heart-1", erase=True),
    f.WorkerJob(
        study=STUDY,
        round=3,
        round_kind=m.RoundKind.EVALUATE,
        site="clinic-a",
        model=OTHER,
        snapshot=BLOB,
        checkpoint="checkpoints/heart-1",
        checkpoint_every_s=30.0,
        threads=1,
    ),
    f.WorkerProgress(step=10, steps=50, checkpoint_step=8, loss=0.25),
    f.WorkerDone(rows=242, metrics=METRICS),
    f.WorkerFailed(reason=m.Reason.DATA_DOES_NOT_FIT, text="no row has the class 'yes'"),
    f.WorkerCheckpointed(step=8),
)

OTHERS: tuple[msgspec.Struct, ...] = (
    STUDY,
    OTHER_STUDY,
    Manifest(size_bytes=300_000, chunk_bytes=262_144, chunks=(BLOB, OTHER)),
    m.UpdateSecret(key=KEY, rows=242, snapshot=BLOB, metrics=METRICS),
)


def named(value: msgspec.Struct) -> str:
    """A name for a golden file or a test's case."""
    task = f"-{value.task.__struct_config__.tag}" if isinstance(value, s.Study) else ""
    return f"{type(value).__name__}{task}"


ALL: dict[str, msgspec.Struct] = {
    named(value): value for value in (*SITE_MESSAGES, *AGGREGATOR_MESSAGES, *FRAMES, *OTHERS)
}
