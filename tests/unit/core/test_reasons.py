# SPDX-License-Identifier: Apache-2.0
"""Whatever the reason is, there are words of ours for it."""

from fedagent.core.reasons import REASON_WORDS
from fedagent.wire.messages import Reason


def test_every_reason_has_words_and_each_has_its_own() -> None:
    assert REASON_WORDS.keys() == set(Reason)
    assert len(set(REASON_WORDS.values())) == len(Reason)
    assert all(words and words.isprintable() for words in REASON_WORDS.values())
