# SPDX-License-Identifier: Apache-2.0
"""FA3: what a peer sent: messages, envelopes, certificates, blobs, frames."""

from functools import partial
from typing import Final

from fedagent.conditions.condition import Condition, Severity

_refused = partial(Condition, severity=Severity.WARNING)
"""Without an action where whoever wrote the message must act, and nobody here can."""

NO_TENSORS: Final = _refused("FA3301", "A file of tensors is empty", "the file of tensors is empty")
MODEL_SIZE: Final = _refused(
    "FA3302",
    "A model is announced with a wrong size",
    "a model of this task has {expected} bytes, announced are {announced}",
)
MODEL_FILE_SIZE: Final = _refused(
    "FA3303",
    "A model's file has another size than announced",
    "the model's file has {size} bytes, announced are {announced}",
)
MODEL_TENSORS: Final = _refused(
    "FA3304",
    "A model has other tensors than its task",
    "the model's tensors are not those of the study's task",
)
MODEL_BLOB: Final = _refused(
    "FA3305",
    "A model's bytes are not the announced ones",
    "the model's bytes are not those of the announced blob",
)
MODEL_PLAINTEXT: Final = _refused(
    "FA3306", "A decrypted model is not the announced one", "the decrypted model is not the announced one"
)

MESSAGE_REFUSED: Final = _refused(
    "FA3601", "A message was refused; it changed nothing", "refused a message on {topic}: {reason}"
)
FOR_ANOTHER_SITE: Final = _refused(
    "FA3602", "A message is for another site", "the message is for another site"
)
NOT_FROM_THE_AGGREGATOR: Final = _refused(
    "FA3603", "Somebody but the aggregator speaks to a site", "only the aggregator speaks to a site"
)
NOT_FROM_A_SITE: Final = _refused(
    "FA3604", "A site sends what sites do not send", "a site does not send {kind}"
)
NO_SUCH_CHUNKS: Final = _refused(
    "FA3605", "A site wants chunks that a model does not have", "the model does not have that many chunks"
)
