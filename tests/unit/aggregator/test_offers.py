# SPDX-License-Identifier: Apache-2.0
"""An update's offer: what is checked before a byte of it is asked for."""

import msgspec
import pytest

from fedagent.aggregator import round_events as on
from fedagent.aggregator.offers import OfferError, read_offer
from fedagent.aggregator.rounds import Round, open_round, step
from fedagent.security.blob import ciphertext_bytes
from fedagent.security.sealing import new_private_key, public_key, seal, update_context
from fedagent.wire.codec import encode
from fedagent.wire.manifest import Manifest, blob_digest, chunk_count
from fedagent.wire.messages import MetricValue, Reason, RoundKind, UpdateOffer, UpdateSecret
from fedagent.wire.study import Study, model_shapes
from fedagent.wire.tensors import file_bytes
from tests.fakes.examples import BLOB, KEY, OTHER_STUDY, STUDY

PRIVATE = new_private_key()
SITE = "clinic-a"
METRICS = (
    MetricValue(name="auc", value=0.8, count=30),
    MetricValue(name="loss", value=0.4, count=STUDY.privacy.minimum_cell - 1),
)


def manifest(study: Study = STUDY, chunk: bytes = BLOB) -> Manifest:
    size = ciphertext_bytes(file_bytes(model_shapes(study.task)), study.chunk_bytes)
    chunks = (chunk,) * chunk_count(size, study.chunk_bytes)
    return Manifest(size_bytes=size, chunk_bytes=study.chunk_bytes, chunks=chunks)


EMPTY = Manifest(size_bytes=0, chunk_bytes=STUDY.chunk_bytes, chunks=())


def round_of(study: Study = STUDY, kind: RoundKind = RoundKind.TRAIN) -> Round:
    return open_round(study, 1, kind, 0.0)


def offer(
    study: Study = STUDY, *, rows: int = 100, of: Manifest | None = None, context: bytes | None = None
) -> UpdateOffer:
    secret = UpdateSecret(key=KEY, rows=rows, snapshot=BLOB, metrics=METRICS)
    context = update_context(study.name, 1, SITE) if context is None else context
    sealed = seal(public_key(PRIVATE), encode(secret), context=context)
    return UpdateOffer(study=study.name, round=1, manifest=of or manifest(study), secret=sealed)


def test_a_good_offer_gives_the_upload_and_the_metrics_that_the_study_allows() -> None:
    upload, result = read_offer(STUDY, round_of(), SITE, offer(), PRIVATE)
    assert (upload.site, upload.blob, upload.key, upload.rows) == (SITE, blob_digest(manifest()), KEY, 100)
    assert (result.rows, result.metrics) == (100, METRICS[:1])


@pytest.mark.parametrize(
    ("made", "kind", "reason"),
    [
        (offer(of=EMPTY), RoundKind.TRAIN, Reason.UNREADABLE),
        (
            offer(of=msgspec.structs.replace(manifest(), chunk_bytes=65_536)),
            RoundKind.TRAIN,
            Reason.UNREADABLE,
        ),
        (offer(), RoundKind.EVALUATE, Reason.UNREADABLE),
        (offer(context=update_context(STUDY.name, 2, SITE)), RoundKind.TRAIN, Reason.UNREADABLE),
        (offer(context=update_context(STUDY.name, 1, "clinic-b")), RoundKind.TRAIN, Reason.UNREADABLE),
        (offer(rows=STUDY.privacy.minimum_cell - 1), RoundKind.TRAIN, Reason.TOO_FEW_ROWS),
    ],
    ids=["empty", "other chunks", "update in evaluation", "other round", "other site", "too few rows"],
)
def test_an_offer_that_cannot_be_used_is_refused_with_its_reason(
    made: UpdateOffer, kind: RoundKind, reason: Reason
) -> None:
    with pytest.raises(OfferError) as caught:
        read_offer(STUDY, round_of(kind=kind), SITE, made, PRIVATE)
    assert caught.value.reason is reason


def test_an_evaluation_offers_no_bytes_and_may_be_over_few_rows() -> None:
    upload, _ = read_offer(STUDY, round_of(kind=RoundKind.EVALUATE), SITE, offer(of=EMPTY, rows=0), PRIVATE)
    assert upload.manifest == EMPTY


def test_the_identity_task_trains_on_one_row_that_is_no_patient() -> None:
    upload, _ = read_offer(OTHER_STUDY, round_of(OTHER_STUDY), SITE, offer(OTHER_STUDY, rows=1), PRIVATE)
    assert upload.rows == 1


def test_no_site_may_offer_another_sites_update() -> None:
    taken, _ = step(round_of(), on.Offered("clinic-b", blob_digest(manifest())), 0.0)
    with pytest.raises(OfferError, match="another site"):
        read_offer(STUDY, taken, SITE, offer(), PRIVATE)


def test_a_secret_that_is_no_secret_is_refused() -> None:
    sealed = seal(public_key(PRIVATE), b"nonsense", context=update_context(STUDY.name, 1, SITE))
    with pytest.raises(OfferError, match="cannot be read"):
        read_offer(STUDY, round_of(), SITE, msgspec.structs.replace(offer(), secret=sealed), PRIVATE)
