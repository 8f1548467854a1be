# SPDX-License-Identifier: Apache-2.0
"""A whole study as an earlier program talked it: today's site and today's aggregator give the answers that were given then.

tests/data/golden/conversation-vN.json was recorded by a program of protocol N (WRITE_CONVERSATION=1). A test that fails here
says that a peer of that version would be answered otherwise.
"""

import os
from pathlib import Path
from typing import Final

import msgspec
import pytest

from fedagent.wire.values import PROTOCOL, SPOKEN
from tests.fakes.conversation import SITE, Entry, meaning, record, replay
from tests.fakes.network import AGGREGATOR

GOLDEN: Final = Path(__file__).parents[1] / "data" / "golden"


def recorded(version: int) -> list[Entry]:
    path = GOLDEN / f"conversation-v{version}.json"
    if "WRITE_CONVERSATION" in os.environ and version == PROTOCOL:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(record()), indent=1))
    return msgspec.json.decode(path.read_bytes(), type=list[Entry])


@pytest.mark.parametrize("party", [SITE, AGGREGATOR])
@pytest.mark.parametrize("version", sorted({SPOKEN, PROTOCOL}))
def test_a_peer_that_says_what_it_said_then_is_answered_as_it_was_then(version: int, party: str) -> None:
    for number, (then, now) in enumerate(replay(recorded(version), party)):
        said = [meaning(line) for line in now.says]
        assert said == [meaning(line) for line in then.says], f"entry {number}: {then.heard or then.happens}"


def test_the_conversation_has_every_message_of_a_study_that_goes_well() -> None:
    entries = recorded(SPOKEN)
    kinds = {line.topic.rpartition("/")[2] for entry in entries for line in entry.says}
    assert kinds >= {
        "presence", "instance", "hello", "join", "want", "manifest", "chunk", "round", "model-key", "grant", "receipt",
    }  # fmt: skip


def test_a_change_of_what_is_said_is_seen() -> None:
    entries = recorded(SPOKEN)
    without = [entry for entry in entries if not (entry.heard and entry.heard.topic.endswith("/model-key"))]
    assert any(
        [meaning(line) for line in now.says] != [meaning(line) for line in then.says]
        for then, now in replay(without, SITE)
    )
