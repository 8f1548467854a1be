# SPDX-License-Identifier: Apache-2.0
"""The broker's configuration and access list, as text (mosquitto 2.0).

Rule: the broker is a cache that may lose everything and is trusted with nothing: nothing is kept on its disk, everybody
is known by the certificate alone, and a site reaches only its own branch.
"""

from pathlib import Path
from typing import Final

from fedagent.wire.topics import PREFIX

CHUNK_BYTES: Final = 1_048_576
HEADROOM_BYTES: Final = 65_536
"""For a chunk's topic and headers, and for the envelope around an offer."""

ACL: Final = f"""\
# A site speaks only for itself, hears what is for it and what is for all. %u is the common name of its certificate.
pattern write {PREFIX}up/%u/#
pattern read {PREFIX}down/%u/#
pattern read {PREFIX}all/#

user aggregator
topic readwrite {PREFIX}#
"""


def configuration(folder: Path, *, port: int, user: str | None) -> str:
    """The text of mosquitto.conf.

    Args:
        folder: where acl, ca.crt, broker.crt and broker.key lie.
        user: whom mosquitto becomes when root starts it; None leaves it at its own default.
    """
    become = f"user {user}\n" if user else ""
    return f"""\
# Mosquitto 2.0 for a fedagent study centre; written by `fedaggregator init`.
{become}\
# The broker is a cache: after a restart every side says again what it needs.
persistence false
log_dest stderr
log_type error
log_type warning
log_type notice
per_listener_settings true

# One chunk and its headers. Larger packets are an error before they are sent.
max_packet_size {CHUNK_BYTES + HEADROOM_BYTES}
# At most 256 granted chunks are under way over all sites, so these are never reached.
max_inflight_messages 64
max_queued_messages 2000
# A site that was away for longer starts afresh.
persistent_client_expiration 1d

listener {port}
protocol mqtt
tls_version tlsv1.3
cafile {folder}/ca.crt
certfile {folder}/broker.crt
keyfile {folder}/broker.key
# The certificate is the identity: it gives the user name, and that the session, so no site can take another's.
require_certificate true
use_identity_as_username true
use_username_as_clientid true
allow_anonymous false
acl_file {folder}/acl
"""
