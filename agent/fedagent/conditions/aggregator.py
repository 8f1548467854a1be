# SPDX-License-Identifier: Apache-2.0
"""FA8: the aggregator: studies, rounds, models and the authority."""

from typing import Final

from fedagent.conditions.condition import Condition, Severity

TWINS: Final = Condition(
    "FA8901",
    "Two machines use one site's identity",
    "two machines use the identity of site {site}: the one that came later was told to stop",
    "ask the site whether a machine was copied",
    severity=Severity.WARNING,
)
CLOCK_WAS_SET: Final = Condition(
    "FA8902",
    "The clock of the aggregator's machine was set",
    "this machine's clock was set by {seconds:+.0f} s: the deadlines of open rounds moved along",
    "let an NTP service keep it",
    severity=Severity.WARNING,
)
