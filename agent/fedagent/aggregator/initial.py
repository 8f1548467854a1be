# SPDX-License-Identifier: Apache-2.0
"""The global model before the first round, from the study's seed.

Rule: the same study gives the same bytes on every machine, whatever the version of numpy (PCG64's stream and its
doubles are fixed by NEP 19), in memory of one piece.
"""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import numpy as np

from fedagent.wire.study import Identity, Shapes, Study, model_shapes
from fedagent.wire.tensors import encode_header

PIECE: Final = 262_144
"""Parameters that are made at once."""


def initial_model(study: Study) -> Iterator[bytes]:
    """The safetensors file, piece by piece.

    Weights and biases are uniform in ±1/sqrt(fan_in), as torch.nn.Linear begins; the ``identity`` task begins with
    zeros.

    Source: PyTorch, ``torch/nn/modules/linear.py``, ``Linear.reset_parameters``.
    """
    shapes = model_shapes(study.task)
    yield encode_header(shapes)
    if isinstance(study.task, Identity):
        for shape in shapes.values():
            yield from _zeros(math.prod(shape))
    else:
        yield from _linear_layers(shapes, study.seed)


def _zeros(parameters: int) -> Iterator[bytes]:
    for begin in range(0, parameters, PIECE):
        yield bytes(4 * min(PIECE, parameters - begin))


def _linear_layers(shapes: Shapes, seed: int) -> Iterator[bytes]:
    generator = np.random.Generator(np.random.PCG64(seed))
    fan_in = 1
    for name, shape in shapes.items():
        if name.endswith(".weight"):
            fan_in = shape[1]
        bound = 1.0 / math.sqrt(fan_in)
        edges = [*range(0, math.prod(shape), PIECE), math.prod(shape)]
        for begin, end in pairwise(edges):
            yield ((2.0 * generator.random(end - begin) - 1.0) * bound).astype("<f4").tobytes()
