# SPDX-License-Identifier: Apache-2.0
"""FA7: the site: the verdict, the rounds at this site, the site's daemon."""

from typing import Final

from fedagent.conditions.condition import Condition, ExitCode, Severity

DISPLACED: Final = Condition(
    "FA7901",
    "Another machine runs as this site",
    "another machine was running as site {site} when this daemon started, with the same key and certificate: this one stops",
    "if this is a copy, give it a name of its own and enrol it (fedagent enroll); if the other one is, stop that one and start"
    " this one again",
    exit_code=ExitCode.CONFIGURATION,
)
TWIN_STOPPED: Final = Condition(
    "FA7902",
    "A second machine used this site's identity",
    "another machine started to use the key and certificate of site {site} and was told to stop",
    "look for a copy of this machine and enrol it under a name of its own; nothing is lost here",
    severity=Severity.WARNING,
)
