# SPDX-License-Identifier: Apache-2.0
"""Power fails at any point: what trainer, aggregator and commands made durable is the old or the new, and no promise breaks.

SQLite syncs for itself: see ``test_power_loss_database``.
"""

import hashlib
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from fedagent.aggregator import app as aggregator_app
from fedagent.aggregator import jobs
from fedagent.aggregator.authority import Authority
from fedagent.aggregator.fold import StagedUpdate
from fedagent.aggregator.models import Models, Published
from fedagent.cli.aggregator import main as aggregator_main
from fedagent.cli.main import main
from fedagent.security.blob import new_blob_key
from fedagent.security.certificates import Signer, Trust, load_key
from fedagent.storage.blobs import BlobFolder
from fedagent.trainer import checkpoint as checkpoints
from fedagent.trainer import supervisor
from fedagent.trainer.datasets import ColumnType
from fedagent.trainer.pseudonyms import pseudonym_key
from fedagent.trainer.rounds import RoundLedger
from fedagent.trainer.snapshots import SnapshotColumn, SnapshotNote, SnapshotStore
from fedagent.wire import study as s
from fedagent.wire.messages import Announcement, ModelReference, RoundKind
from fedagent.wire.tensors import encode_header
from tests.fakes.clinic import IDENTITY, encrypt
from tests.fakes.power import Image, Power, check_images

CHUNK: Final = 65_536
NOW: Final = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return tmp_path / "images"


# --- trainer ----------------------------------------------------------------------------------------------------------


def announcement(number: int, seed: int = 0) -> Announcement:
    return Announcement(
        study=msgspec.structs.replace(IDENTITY, seed=seed),
        round=number,
        round_kind=RoundKind.TRAIN,
        model=ModelReference(blob=bytes(32), size_bytes=1, chunk_bytes=CHUNK, plaintext=bytes(32)),
        aggregator_key=bytes(32),
        deadline_at=0.0,
    )


def train_rounds(power: Power, folder: Path) -> None:
    """A supervisor that begins and seals what it may, and says so."""
    ledger = RoundLedger(folder / "rounds.json")
    for number in (2, 3):
        if ledger.objection(announcement(number)) is None:
            ledger.begin(announcement(number))
            power.promise(f"begun {number}")
            ledger.seal(announcement(number))
            power.promise(f"sealed {number}")


@pytest.mark.parametrize("dies_after", range(1, 12))
def test_a_round_only_moves_forward_over_a_kill_and_a_power_loss(
    state_folder: Path, images: Path, dies_after: int
) -> None:
    power = Power(state_folder)
    for dies in (dies_after, None):
        with power.recording(dies_after=dies):
            train_rounds(power, state_folder)

    def check(image: Image) -> None:
        ledger = RoundLedger(image.folder / "rounds.json")
        for number in (2, 3):
            if f"begun {number}" in image.promises:
                assert ledger.objection(announcement(number - 1)) is not None
            if f"sealed {number}" in image.promises:
                other = msgspec.structs.replace(announcement(number), aggregator_key=b"x" * 32)
                assert ledger.objection(other) is not None

    check_images(power, images, check)


def test_a_checkpoint_that_was_reported_is_there(state_folder: Path, images: Path) -> None:
    identity = checkpoints.CheckpointIdentity(
        study=bytes(32),
        round=3,
        site="clinic-a",
        model=bytes(32),
        snapshot=bytes(32),
        build="torch",
        cpu="AVX2",
    )
    tensors = {"weight": np.arange(12, dtype=np.float32).reshape(3, 4)}

    def save(step: int) -> None:
        state = checkpoints.CheckpointState(
            identity=identity, step=step, elapsed_s=0.5, loss_sum=1.5, threads=1
        )
        checkpoints.save(state_folder / "checkpoint", checkpoints.Checkpoint(state, tensors))

    power = Power(state_folder)
    with power.recording():
        for step in (1, 2):
            save(step)
            power.promise(str(step))

    def check(image: Image) -> None:
        found = checkpoints.load(image.folder / "checkpoint", identity)
        promised = max(map(int, image.promises), default=0)
        assert (found.state.step if found else 0) >= promised
        assert found is None or found.tensors["weight"].tobytes() == tensors["weight"].tobytes()

    check_images(power, images, check)


def note(rows: int) -> SnapshotNote:
    kind: ColumnType = "number"
    return SnapshotNote(
        rows=rows,
        patients=rows,
        columns=(SnapshotColumn("age", kind),),
        created_at=NOW.isoformat(),
        sources=("csv",),
        definition="00" * 32,
    )


def test_the_current_snapshot_is_the_old_or_the_new(state_folder: Path, images: Path) -> None:
    """The table comes from DuckDB, which syncs nothing that we know of."""
    store = SnapshotStore(state_folder / "snapshots")

    def put(text: bytes, rows: int) -> bytes:
        table = store.dataset_folder("heart") / ".work.parquet"
        table.write_bytes(text)
        return store.put("heart", hashlib.sha256(text).digest(), table=table, note=note(rows)).digest

    old, new = b"old rows" * 100, b"new rows" * 90
    put(old, 100)
    power = Power(state_folder)
    with power.recording():
        put(new, 90)
        power.promise("new")
        put(old, 100)
        power.promise("old again")

    def check(image: Image) -> None:
        found = SnapshotStore(image.folder / "snapshots").current("heart")
        assert found is not None
        data = found.path.read_bytes()
        assert (data, found.rows) in ((old, 100), (new, 90))
        assert hashlib.sha256(data).digest() == found.digest
        if image.promises:
            assert (
                image.folder / "snapshots" / "heart" / f"{hashlib.sha256(new).hexdigest()}.parquet"
            ).exists()
        if image.promises == {"old again"}:
            assert data == old

    check_images(power, images, check)


def test_patients_keep_their_pseudonyms(state_folder: Path, images: Path) -> None:
    """Also where a run was killed on its way to the key, and the next one used it."""
    for number in range(1, 12):
        state = state_folder / str(number)
        state.mkdir(mode=0o700)
        power = Power(state)
        for dies_after in (number, None):
            with power.recording(dies_after=dies_after):
                power.promise(pseudonym_key(state / "trainer").hex())

        def check(image: Image) -> None:
            assert len(image.promises) <= 1
            key = pseudonym_key(image.folder / "trainer").hex()
            assert key in image.promises or not image.promises

        check_images(power, images / str(number), check, at_least=1)


@pytest.mark.parametrize("private_key", [supervisor._private_key, aggregator_app._private_key])
def test_a_key_that_was_used_is_there(state_folder: Path, images: Path, private_key: object) -> None:
    """Updates that were sealed to it would be lost with it."""
    assert callable(private_key)
    power = Power(state_folder)
    with power.recording():
        power.promise(private_key(state_folder / "key").hex())

    def check(image: Image) -> None:
        assert private_key(image.folder / "key").hex() in image.promises or not image.promises

    check_images(power, images, check)


# --- aggregator -------------------------------------------------------------------------------------------------------

STUDY: Final = msgspec.structs.replace(
    IDENTITY,
    task=s.Identity(parameters=20_000),
    federation=msgspec.structs.replace(IDENTITY.federation, aggregation=s.FedAvg(server_momentum=0.5)),
    chunk_bytes=CHUNK,
)


def models_in(folder: Path) -> tuple[Models, BlobFolder]:
    blobs = BlobFolder(folder / "blobs")
    return Models(folder / "models", blobs), blobs


def staged(folder: Path, value: float) -> StagedUpdate:
    key, path = new_blob_key(), folder / "update"
    body = encode_header(s.model_shapes(STUDY.task)) + np.full(20_000, value, "<f4").tobytes()
    path.write_bytes(b"".join(encrypt(body, key, CHUNK)))
    return StagedUpdate("clinic-a", path, key, 10)


def make_and_fold(power: Power, folder: Path) -> dict[str, tuple[Published, bytes]]:
    """What the aggregator's jobs made: the published model and its bytes, by the promise that follows."""
    made: dict[str, tuple[Published, bytes]] = {}
    models, _ = models_in(folder)
    first = jobs.perform(jobs.Prepare(STUDY), models, lambda: False)
    assert isinstance(first, jobs.Prepared)
    base = first.model.reference.plaintext
    made["first"] = first.model, models.path(base).read_bytes()
    power.promise("first")
    update = staged(folder, 0.25)
    job = jobs.FoldRound(study=STUDY, number=1, base=base, updates=(update,), velocity=None)
    second = jobs.perform(job, models, lambda: False)
    assert isinstance(second, jobs.RoundFolded)
    made["second"] = second.model, models.path(second.model.reference.plaintext).read_bytes()
    power.promise("second")
    return made


def check_model(folder: Path, model: Published, data: bytes) -> None:
    """The plaintext and every chunk of the blob are there."""
    models, blobs = models_in(folder)
    reference = model.reference
    assert models.path(reference.plaintext).read_bytes() == data
    assert blobs.manifest(reference.blob) == model.manifest
    for index, digest in enumerate(model.manifest.chunks):
        assert hashlib.sha256(blobs.read_chunk(reference.blob, index)).digest() == digest


def test_a_model_is_whole_before_the_store_names_it(state_folder: Path, images: Path) -> None:
    """``perform`` returns, then the transaction commits: from there model, blob and momentum must be there."""
    power = Power(state_folder)
    with power.recording():
        made = make_and_fold(power, state_folder)
    velocity = models_in(state_folder)[0].velocity(STUDY.name, 1).read_bytes()

    def check(image: Image) -> None:
        for name in image.promises:
            check_model(image.folder, *made[name])
        if "second" in image.promises:
            assert models_in(image.folder)[0].velocity(STUDY.name, 1).read_bytes() == velocity
        for path in (image.folder / "models").glob("[0-9a-f]*.safetensors"):
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.stem

    check_images(power, images, check, at_least=50)


def test_an_exported_model_is_the_old_file_or_the_new(state_folder: Path, images: Path) -> None:
    models, _ = models_in(state_folder)
    digest = models.write("draft", [b"the model" * 1000])
    target = state_folder / "exported.safetensors"
    target.write_bytes(b"last year's")
    power = Power(state_folder)
    with power.recording():
        models.export(digest, target)
        power.promise("exported")

    def check(image: Image) -> None:
        data = (image.folder / "exported.safetensors").read_bytes()
        assert data == b"the model" * 1000 or (data == b"last year's" and not image.promises)

    check_images(power, images, check)


def test_an_authority_is_whole_or_can_be_made_anew(state_folder: Path, images: Path) -> None:
    power = Power(state_folder)
    with power.recording():
        authority = Authority(state_folder / "authority", lambda: NOW)
        authority.create(b"secret")
        power.promise("created")
        credential = authority.issue_aggregator()
        power.promise("issued")
        credential.install(state_folder / "aggregator.crt", state_folder / "aggregator.key")
        power.promise("installed")

    def check(image: Image) -> None:
        again = Authority(image.folder / "authority", lambda: NOW)
        if "created" not in image.promises and not again.certificate_path.exists():
            again.create(b"secret")
        again.open(b"secret")
        assert [each.name for each in again.issued()] == ["aggregator"] or "issued" not in image.promises
        certificate, key = (image.folder / name for name in ("aggregator.crt", "aggregator.key"))
        assert key.exists() or not certificate.exists()
        if "installed" in image.promises:
            signer = Signer(certificate.read_bytes(), key.read_bytes())
            Trust(again.certificate_path.read_bytes()).identify(signer.certificate, NOW)

    check_images(power, images, check)


@pytest.mark.parametrize("dies_after", [*range(1, 11), *range(11, 61, 7)])
def test_a_study_centre_that_was_interrupted_on_its_way_is_made_by_the_same_command(
    state_folder: Path, dies_after: int
) -> None:
    centre, password = state_folder / "centre", state_folder / "password"
    password.write_text("secret")
    password.chmod(0o600)
    power = Power(state_folder)
    for dies in (dies_after, None):
        with power.recording(dies_after=dies):
            code = aggregator_main(
                ["init", str(centre), "--host", "localhost", "--password-file", str(password)]
            )
            power.promise(str(code))
    assert power.promised == ["0"]
    authority = Authority(centre / "authority")
    authority.open(b"secret")
    issued = {each.fingerprint for each in authority.issued()}
    for name in ("aggregator", "broker"):
        certificate = x509.load_pem_x509_certificate((centre / f"{name}.crt").read_bytes())
        assert certificate.fingerprint(SHA256()).hex() in issued
        key = load_key((centre / f"{name}.key").read_bytes(), None)
        assert key.public_key() == certificate.public_key()


# --- commands ---------------------------------------------------------------------------------------------------------


def test_a_revoked_approval_does_not_come_back(state_folder: Path, images: Path) -> None:
    approvals = state_folder / "approvals.d"
    approvals.mkdir()
    (approvals / "heart-1.toml").write_text("study = 'heart-1'\n")
    config = state_folder / "fedagent.toml"
    config.write_text(
        f"[site]\nname = 'clinic-a'\n[broker]\nhost = 'broker'\n[paths]\napprovals = '{approvals}'\n"
    )
    power = Power(state_folder)
    with power.recording():
        assert main(["study", "revoke", "heart-1", "--config", str(config)]) == 0
        power.promise("revoked")

    def check(image: Image) -> None:
        path = image.folder / "approvals.d" / "heart-1.toml"
        assert not path.exists() or (not image.promises and tomllib.loads(path.read_text()))

    check_images(power, images, check, at_least=2)
