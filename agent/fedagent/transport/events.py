# SPDX-License-Identifier: Apache-2.0
"""What the link to the broker tells its owner.

Rule: after ``Connected`` nothing that was under way before it is; whoever waits for something asks again.
"""

import msgspec

from fedagent.conditions.condition import Said


class Connected(msgspec.Struct, frozen=True):
    """A new connection: subscribe again, say hello again. The broker takes no larger packet than this."""

    max_packet_bytes: int | None


class Disconnected(msgspec.Struct, frozen=True):
    """No connection, and why: once per outage, again only when the reason is another one."""

    reason: Said


class Arrived(msgspec.Struct, frozen=True):
    """A message; the broker holds it until ``acknowledge``. ``mid`` also holds the connection that it came by."""

    topic: str
    payload: bytes
    mid: int
    qos: int


MqttEvent = Connected | Disconnected | Arrived
