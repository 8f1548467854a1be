# SPDX-License-Identifier: Apache-2.0
"""A reason in our own words, for people at the other end.

Rule: of what a worker or a library says of a failure nothing leaves the site: it may quote data. These words may.
"""

from collections.abc import Mapping
from typing import Final

from fedagent.wire.messages import Reason

REASON_WORDS: Final[Mapping[Reason, str]] = {
    Reason.CRASHED: "the training crashed more than once",
    Reason.OUT_OF_MEMORY: "the training needs more memory than there is here",
    Reason.STUCK: "the training stood still more than once",
    Reason.NOT_FINITE: "the training diverged: its numbers are not finite",
    Reason.TOO_FEW_ROWS: "too few patients are usable here",
    Reason.NO_DATASET: "the approved dataset has no usable snapshot",
    Reason.DATA_DOES_NOT_FIT: "the dataset does not fit the study",
    Reason.REVOKED: "the study is not approved here, or not for this round",
    Reason.GATE: "the result is not what may leave the site",
    Reason.NOT_A_MEMBER: "the study does not name this site",
    Reason.OTHER_STUDY: "another version of the study is approved here",
    Reason.ROUND_CLOSED: "the round is over, or was worked on already",
    Reason.ALREADY_COUNTED: "the update was counted already",
    Reason.UNREADABLE: "announcement, key or model cannot be read here",
    Reason.STUDY_STOPPED: "the study was stopped",
}
