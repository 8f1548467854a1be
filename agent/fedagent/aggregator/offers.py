# SPDX-License-Identifier: Apache-2.0
"""An update's offer, opened and checked against its study.

Rule: everything that can be known before the first byte of the update is asked for is checked here.
"""

import math

from fedagent.aggregator.metrics import SiteResult
from fedagent.aggregator.rounds import Round
from fedagent.aggregator.store import Upload
from fedagent.conditions.aggregator import (
    EVALUATION_WITH_UPDATE,
    SAME_UPDATE_OFFERED,
    SECRET_UNREADABLE,
    TOO_FEW_ROWS_OFFERED,
    WRONG_SIZE_OFFERED,
)
from fedagent.conditions.condition import Said
from fedagent.errors import FedagentError, WireError
from fedagent.security.blob import ciphertext_bytes
from fedagent.security.sealing import unseal, update_context
from fedagent.wire.codec import decode
from fedagent.wire.manifest import Manifest, blob_digest
from fedagent.wire.messages import MetricValue, Reason, RoundKind, UpdateOffer, UpdateSecret
from fedagent.wire.study import Identity, Study, model_shapes
from fedagent.wire.tensors import file_bytes
from fedagent.wire.topics import CONTROL_BYTES


class OfferError(FedagentError):
    """What the site offers cannot be used in this round.

    Attributes:
        reason: what the site is told.
    """

    def __init__(self, reason: Reason, said: Said) -> None:
        super().__init__(said)
        self.reason = reason


def read_offer(
    study: Study, round_: Round, site: str, offer: UpdateOffer, private_key: bytes
) -> tuple[Upload, SiteResult]:
    """What the site will send, and what it reports.

    Raises:
        OfferError: wrong size, not sealed to us for this round, too few rows.
    """
    _check_manifest(study, round_, offer.manifest)
    blob = blob_digest(offer.manifest)
    # A blob is one site's own: else deleting one site's update would delete another's.
    if offer.manifest.size_bytes and any(part.blob == blob and part.site != site for part in round_.parts):
        raise OfferError(Reason.UNREADABLE, SAME_UPDATE_OFFERED())
    secret = _open_secret(round_, site, offer.secret, private_key)
    least = 1 if isinstance(study.task, Identity) else study.privacy.minimum_cell
    if round_.kind is RoundKind.TRAIN and secret.rows < least:
        raise OfferError(Reason.TOO_FEW_ROWS, TOO_FEW_ROWS_OFFERED(rows=secret.rows, least=least))
    upload = Upload(site=site, blob=blob, manifest=offer.manifest, key=secret.key, rows=secret.rows)
    metrics = tuple(metric for metric in secret.metrics if _is_lawful(metric, study))
    return upload, SiteResult(site=site, rows=secret.rows, snapshot=secret.snapshot, metrics=metrics)


def _check_manifest(study: Study, round_: Round, manifest: Manifest) -> None:
    if round_.kind is RoundKind.EVALUATE:
        if manifest.size_bytes:
            raise OfferError(Reason.UNREADABLE, EVALUATION_WITH_UPDATE())
        return
    size = ciphertext_bytes(file_bytes(model_shapes(study.task)), study.chunk_bytes)
    if (manifest.size_bytes, manifest.chunk_bytes) != (size, study.chunk_bytes):
        said = WRONG_SIZE_OFFERED(
            bytes=manifest.size_bytes,
            chunk_bytes=manifest.chunk_bytes,
            due_bytes=size,
            due_chunk_bytes=study.chunk_bytes,
        )
        raise OfferError(Reason.UNREADABLE, said)


def _open_secret(round_: Round, site: str, sealed: bytes, private_key: bytes) -> UpdateSecret:
    context = update_context(round_.study, round_.number, site)
    try:
        return decode(unseal(private_key, sealed, context=context), UpdateSecret, limit_bytes=CONTROL_BYTES)
    except WireError as error:
        raise OfferError(Reason.UNREADABLE, SECRET_UNREADABLE(reason=error)) from error


def _is_lawful(metric: MetricValue, study: Study) -> bool:
    """Finite, and over as many patients as the study demands (the site's gate has seen to that already)."""
    return math.isfinite(metric.value) and metric.count >= study.privacy.minimum_cell
