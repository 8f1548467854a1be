# SPDX-License-Identifier: Apache-2.0
"""Why the supervisor will not train a job, or will not let a result out."""

from fedagent.conditions.condition import Said
from fedagent.errors import FedagentError
from fedagent.wire.messages import Reason


class RefusedError(FedagentError):
    """A refusal with its reason for the aggregator and its condition for people on this machine.

    Attributes:
        round: of the announcement, where one was verified.
    """

    def __init__(self, reason: Reason, said: Said, round_number: int | None = None) -> None:
        super().__init__(said)
        self.reason = reason
        self.round = round_number
