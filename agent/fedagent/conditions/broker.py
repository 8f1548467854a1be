# SPDX-License-Identifier: Apache-2.0
"""FA4: the broker, the line to it, and the control socket."""

from functools import partial
from typing import Final

from fedagent.conditions.condition import Condition, ExitCode, Severity

_unavailable = partial(Condition, exit_code=ExitCode.UNAVAILABLE)
_warned = partial(Condition, severity=Severity.WARNING)
_told = partial(Condition, severity=Severity.INFO)

# --- the line to the broker

CONNECTED: Final = _told("FA4101", "There is a connection to the broker", "connected to the broker {where}")
BROKER_NOT_TRUSTED: Final = _warned(
    "FA4102",
    "The broker's certificate is not accepted",
    "the certificate of the broker {where} was not accepted ({reason})",
    "check broker.host, broker.ca and this machine's clock",
)
WE_ARE_NOT_TRUSTED: Final = _warned(
    "FA4103",
    "The broker does not accept our certificate",
    "the broker {where} did not accept our certificate ({reason})",
    "check broker.certificate and both machines' clocks, or enroll again",
)
BROKER_CLOSED: Final = _warned(
    "FA4104",
    "The broker closed the connection",
    "the broker {where} closed the connection",
    "read in the broker's log why",
)
NO_TLS: Final = _warned(
    "FA4105",
    "The broker speaks no TLS 1.3",
    "no TLS 1.3 with {where}: {reason}",
    "check that broker.port is the broker's TLS port",
)
NAME_NOT_FOUND: Final = _warned(
    "FA4106",
    "The broker's name is not found",
    "the name {host} was not found ({reason})",
    "check broker.host and DNS",
)
CONNECTION_REFUSED: Final = _warned(
    "FA4107",
    "The broker's machine refuses the connection",
    "{where} refused the connection",
    "check that the broker runs and broker.port is its port",
)
BROKER_SILENT: Final = _warned(
    "FA4108", "The broker does not answer", "{where} does not answer", "check the network and its firewall"
)
CONNECTION_FAILED: Final = _warned(
    "FA4109",
    "The connection to the broker failed",
    "the connection to {where} failed: {reason}",
    "check this machine's network",
)
PACKET_TOO_LONG: Final = _warned(
    "FA4110",
    "The broker sends larger packets than it was told to",
    "the broker {where} announced a packet of {bytes} bytes, allowed are {limit}",
    "upgrade the broker: it ignores our maximum packet size",
)
NOT_MQTT: Final = _warned(
    "FA4111",
    "Whoever answers speaks no MQTT 5",
    "{where} does not speak MQTT 5",
    "check that broker.port is the broker's port",
)
NOT_MQTT_BECAUSE: Final = _warned(
    "FA4112",
    "Whoever answers sent malformed MQTT",
    "{where} does not speak MQTT 5 ({reason})",
    "check that broker.port is the broker's port",
)
BROKER_REFUSES_US: Final = _warned(
    "FA4113",
    "The broker refuses our session",
    "the broker {where} refused our session ({reason})",
    "check the broker's access list",
)
SESSION_ENDED: Final = _warned(
    "FA4114",
    "The broker ended our session",
    "the broker {where} ended the session ({reason})",
    "read in the broker's log why",
)
MESSAGE_NOT_TAKEN: Final = _warned(
    "FA4115",
    "The broker refuses a message of ours",
    "the broker refused our message on {topic}: {reason}",
    "check the broker's access list",
)
SUBSCRIPTION_REFUSED: Final = _warned(
    "FA4116",
    "The broker refuses a subscription of ours",
    "the broker refused our subscription to {topic}: {reason}",
    "check the broker's access list",
)
ABOVE_BROKERS_LIMIT: Final = Condition(
    "FA4117",
    "A message is larger than the broker takes",
    "{bytes} bytes for {topic} are more than the broker takes in one packet ({limit} bytes)",
    "raise max_packet_size there, or lower chunk_bytes in the study",
)
CHUNKS_OVERDUE: Final = _told(
    "FA4118",
    "A site does not send the chunks that it may send",
    "site {site} sent none of {chunks} granted chunks for {seconds:.0f} s",
)

# --- the control socket, and what the broker sends

CANNOT_LISTEN: Final = Condition(
    "FA4601",
    "The control socket cannot be made",
    "cannot listen on {path}: {reason}",
    "correct the folder's owner",
)
REQUEST_NOT_UNDERSTOOD: Final = Condition(
    "FA4602",
    "The daemon does not understand a command's request",
    "the request is not understood: {reason}",
    "is the daemon of another version? restart it",
)
MAY_NOT_CONNECT: Final = _unavailable(
    "FA4603",
    "The daemon's control socket is closed to this user",
    "cannot reach {program} at {path}: {reason}",
    "try sudo",
)
DAEMON_SILENT: Final = _unavailable(
    "FA4604",
    "The daemon does not answer a command",
    "{program} does not answer at {path} within {limit_s:g} s",
    "see systemctl status {program}",
)
DAEMON_NOT_RUNNING: Final = _unavailable(
    "FA4605",
    "The daemon is not running",
    "{program} is not running (nobody answers at {path})",
    "systemctl start {program}",
)
OTHER_ANSWER: Final = _unavailable(
    "FA4606",
    "The daemon's answer is not what was asked for",
    "the daemon gave an answer of another kind",
    "is it of another version? restart it",
)
TOO_MUCH_AT_ONCE: Final = Condition(
    "FA4607",
    "The broker sends more at once than it was told to",
    "the broker sent more messages than we take at once",
    "what was dropped comes again on a new connection",
    severity=Severity.WARNING,
)
OTHER_VERSION: Final = _unavailable(
    "FA4608",
    "The daemon is of another version than the command",
    "the running {program} speaks another version than this command",
    "systemctl restart {program}",
)
