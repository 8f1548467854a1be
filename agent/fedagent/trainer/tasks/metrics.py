# SPDX-License-Identifier: Apache-2.0
"""How good a classifier's outputs are, in float64 and without a library.

Rule: a metric that the rows do not define (one class only, no rows) is left out, never guessed. Each carries the count
of rows it is over, which the gate compares with the study's minimum cell.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedagent.wire.messages import MetricValue

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CALIBRATION_BINS: Final = 10


def evaluate(outputs: Floats, labels: Integers, classes: int) -> tuple[MetricValue, ...]:
    """Every metric of ``wire.study.Metric`` that these rows define.

    Args:
        outputs: finite logits, shape (rows, 1) for two classes, else (rows, classes).
        labels: class numbers, shape (rows,).
        classes: how many there are in the study; not all need have rows.
    """
    if not len(labels):
        return ()
    logarithms = log_probabilities(outputs)
    predicted = np.argmax(logarithms, axis=1)
    right = predicted == labels
    values = {
        "auc": auc(logarithms, labels) if classes > 2 else binary_auc(outputs[:, 0], labels == 1),  # noqa: PLR2004
        "accuracy": float(np.mean(right)),
        "balanced_accuracy": balanced_accuracy(right, labels),
        "loss": float(-np.mean(logarithms[np.arange(len(labels)), labels])),
        "calibration_error": calibration_error(np.exp(np.max(logarithms, axis=1)), right),
    }
    count = len(labels)
    return tuple(
        MetricValue(name=name, value=value, count=count)
        for name, value in values.items()
        if value is not None
    )


def log_probabilities(outputs: Floats) -> Floats:
    """The logarithm of each class's probability, shape (rows, classes): sigmoid of one output, softmax of more."""
    if outputs.shape[1] == 1:
        logit = outputs[:, 0]
        return -np.stack([np.logaddexp(0.0, logit), np.logaddexp(0.0, -logit)], axis=1)
    shifted = outputs - np.max(outputs, axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True)), dtype=np.float64)


def binary_auc(scores: Floats, positive: NDArray[np.bool_]) -> float | None:
    """The share of pairs in which the positive row scores higher, a tie being a half; None where there is no pair.

    Source: Hanley and McNeil 1982, as the Mann-Whitney statistic over average ranks.
    """
    positives = int(np.count_nonzero(positive))
    negatives = len(positive) - positives
    if not positives or not negatives:
        return None
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    pairs_won = float(np.sum(ranks[positive])) - positives * (positives + 1) / 2
    return pairs_won / (positives * negatives)


def auc(scores: Floats, labels: Integers) -> float | None:
    """The unweighted mean over the classes present of each class's AUC against the rest."""
    each = [binary_auc(scores[:, number], labels == number) for number in np.unique(labels)]
    defined = [value for value in each if value is not None]
    return float(np.mean(defined)) if defined else None


def balanced_accuracy(right: NDArray[np.bool_], labels: Integers) -> float | None:
    """The unweighted mean of the recalls of the classes present; None where there is only one.

    Source: Brodersen et al. 2010, for more classes as in Kelleher et al. 2015.
    """
    present = np.unique(labels)
    if len(present) == 1:
        return None
    return float(np.mean([np.mean(right[labels == number]) for number in present]))


def calibration_error(confidence: Floats, right: NDArray[np.bool_]) -> float:
    """The expected calibration error over ten bins of equal width, (0, 0.1] to (0.9, 1.0].

    Args:
        confidence: the probability of the predicted class, shape (rows,).
        right: whether the prediction holds, shape (rows,).

    Source: Guo et al. 2017, equation 3 (arXiv:1706.04599).
    """
    bins = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(np.int64) - 1, 0, CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, weights=right.astype(np.float64) - confidence, minlength=CALIBRATION_BINS)
    return float(np.sum(np.abs(gaps)) / len(right))
