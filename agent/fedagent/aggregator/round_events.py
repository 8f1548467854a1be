# SPDX-License-Identifier: Apache-2.0
"""What can happen to a round, and what follows from it, as values.

Rule: events say what is, not what changed, so a repeat is lawful; commands are performed after the round is durable.
"""

import msgspec

from fedagent.conditions.condition import Said
from fedagent.wire.messages import Reason

# --- events -------------------------------------------------------------------------------------------------------


class Joined(msgspec.Struct, frozen=True):
    """The site takes part and asks for the model's key."""

    site: str
    trainer_key: bytes


class Offered(msgspec.Struct, frozen=True):
    """The site has an update (or an evaluation's result) ready."""

    site: str
    blob: bytes


class Stored(msgspec.Struct, frozen=True):
    """The update is here, whole and durable."""

    site: str
    blob: bytes


class Declined(msgspec.Struct, frozen=True):
    """The site will send nothing in this round."""

    site: str
    reason: Reason
    text: str


class Rejected(msgspec.Struct, frozen=True):
    """We cannot use what the site offered or sent."""

    site: str
    reason: Reason
    text: str


class Ticked(msgspec.Struct, frozen=True):
    """Time has passed."""


class Folded(msgspec.Struct, frozen=True):
    """The new global model has these sites' updates in it, and is durable."""

    sites: tuple[str, ...]


class Stopped(msgspec.Struct, frozen=True):
    """The round will not be finished."""

    said: Said


Event = Joined | Offered | Stored | Declined | Rejected | Ticked | Folded | Stopped


# --- commands -----------------------------------------------------------------------------------------------------


class SendKey(msgspec.Struct, frozen=True):
    """Seal the model's key to the part's trainer key and send it."""

    site: str


class Collect(msgspec.Struct, frozen=True):
    """Grant the site the chunks of what it offered."""

    site: str


class Forget(msgspec.Struct, frozen=True):
    """Delete what the site sent for this round."""

    site: str
    blob: bytes


class SendReceipt(msgspec.Struct, frozen=True):
    """Tell the site that its update is here."""

    site: str
    blob: bytes


class SendRefusal(msgspec.Struct, frozen=True):
    """Tell the site that its part is not taken."""

    site: str
    reason: Reason
    text: str


class SendCancel(msgspec.Struct, frozen=True):
    """Tell the site to stop its work on this round."""

    site: str
    text: str


class Fold(msgspec.Struct, frozen=True):
    """Fold the updates of these sites into the next global model."""

    sites: tuple[str, ...]


class Announce(msgspec.Struct, frozen=True):
    """Announce the round (again): its deadline has changed."""


Command = SendKey | Collect | Forget | SendReceipt | SendRefusal | SendCancel | Fold | Announce
