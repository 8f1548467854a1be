# SPDX-License-Identifier: Apache-2.0
"""What all parties of a federation in memory share: the clock, the network, and the truth about what happened."""

import hashlib
from collections.abc import Sequence
from typing import Final, cast

from fedagent.core.facts import Instant
from fedagent.security.certificates import Signer, Trust
from fedagent.security.identity import Identity
from tests.fakes.clock import ManualClock
from tests.fakes.network import Network, PlainSigner

WINDOW: Final = 2
AGGREGATOR_KEY: Final = b"\x0a" * 32
"""Public and private: see ``network.unseal``."""
TRUST: Final = cast("Trust", None)


class World:
    """One a federation.

    Attributes:
        sealed: each update's blob with its site, study, round and the model that it was trained from.
    """

    def __init__(self) -> None:
        self.clock, self.network = ManualClock(), Network()
        self.sealed: dict[bytes, tuple[str, str, int, bytes]] = {}
        self.serial = 0

    def now(self) -> Instant:
        return Instant(monotonic=self.clock.monotonic_s, wall=self.clock.wall_s)

    def model_of(self, base: bytes, updates: Sequence[bytes]) -> bytes:
        """The digest of the model that these updates make of that one."""
        return hashlib.sha256(base + b"".join(updates)).digest()

    def fresh(self, what: str) -> bytes:
        """32 bytes that never were before."""
        self.serial += 1
        return hashlib.sha256(f"{what} {self.serial}".encode()).digest()


def signer_of(identity: Identity) -> Signer:
    return cast("Signer", PlainSigner(identity))
