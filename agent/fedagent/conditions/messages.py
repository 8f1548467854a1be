# SPDX-License-Identifier: Apache-2.0
"""FA3: what a peer sent: messages, envelopes, certificates, blobs, frames."""

from functools import partial
from typing import Final

from fedagent.conditions.condition import Condition, Severity

_refused = partial(Condition, severity=Severity.WARNING)

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
