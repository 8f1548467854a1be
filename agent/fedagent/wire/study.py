# SPDX-License-Identifier: Apache-2.0
"""A study: everything that a site approves, as one immutable value with one digest.

Rule: whatever changes what is computed on patient data, or what leaves, is a field here, so that the digest that a
site approved covers it. No code is in a study: it names an installed task and its parameters.
"""

import hashlib
import math
from itertools import pairwise
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from fedagent.conditions.settings import (
    MINIMUM_ABOVE_MAXIMUM,
    MODEL_TOO_LARGE,
    NO_FIXED_NUMBERS,
    NO_SUCH_BASELINE,
    QUORUM_TOO_LARGE,
    SAME_NUMBER,
    TENSORS_WITHOUT_PARAMETERS,
)
from fedagent.wire.manifest import MANIFEST_CHUNKS
from fedagent.wire.values import (
    ChunkBytes,
    ColumnName,
    Count,
    Finite,
    Name,
    NotNegative,
    Positive,
    Text,
    refuse_repeated,
    refuse_reserved,
)


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """A part of a study; an unknown key is an error with its path."""


# --- columns ------------------------------------------------------------------------------------------------


class Numeric(Part, frozen=True, tag_field="type", tag="numeric"):
    """A number; one feature. Values outside [minimum, maximum] count as missing.

    ``mean`` and ``standard_deviation`` serve fixed normalisation only.
    """

    name: ColumnName
    unit: Text = ""
    minimum: Finite | None = None
    maximum: Finite | None = None
    mean: Finite | None = None
    standard_deviation: Positive | None = None

    def __post_init__(self) -> None:
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            said = MINIMUM_ABOVE_MAXIMUM(minimum=self.minimum, column=self.name, maximum=self.maximum)
            raise ValueError(said)


class Category(Part, frozen=True, tag_field="type", tag="category"):
    """One of the categories, one-hot in their order. Other values count as missing.

    Categories that are all numbers compare as numbers, so ``4`` equals ``4.0``. ``baseline`` names a category that
    gets no feature of its own (dummy coding).
    """

    name: ColumnName
    categories: Annotated[tuple[Text, ...], Meta(min_length=2, max_length=1000)]
    baseline: Text | None = None

    def __post_init__(self) -> None:
        _refuse_equal("category", self.categories)
        if self.baseline is not None and self.baseline not in self.categories:
            raise ValueError(NO_SUCH_BASELINE(baseline=self.baseline, column=self.name))


class Boolean(Part, frozen=True, tag_field="type", tag="boolean"):
    """True or false (or 1 and 0); one feature, 1.0 or 0.0."""

    name: ColumnName


Column = Numeric | Category | Boolean


class Label(Part, frozen=True):
    """What is predicted: a column with one of these classes; with two classes the second is the positive one."""

    column: ColumnName
    classes: Annotated[tuple[Text, ...], Meta(min_length=2, max_length=100)]

    def __post_init__(self) -> None:
        _refuse_equal("class", self.classes)


# --- how rows are prepared ------------------------------------------------------------------------------------


class SiteNormalisation(Part, frozen=True, tag_field="by", tag="site"):
    """z-score with the mean and the unbiased standard deviation of the site's own training rows.

    A feature that is constant there becomes 0. ``features`` chooses numbers only, or one-hot and boolean ones too.
    """

    features: Literal["numeric", "all"] = "numeric"


class FixedNormalisation(Part, frozen=True, tag_field="by", tag="fixed"):
    """z-score with each numeric column's declared ``mean`` and ``standard_deviation``."""


class NoNormalisation(Part, frozen=True, tag_field="by", tag="none"):
    """Values as they are."""


class SeededSplit(Part, frozen=True, tag_field="by", tag="seed"):
    """A share of the patients, chosen by a keyed hash of their identifier and stratified by label."""

    test_ratio: Annotated[float, Meta(gt=0.0, lt=1.0)] = 0.2
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0


class ColumnSplit(Part, frozen=True, tag_field="by", tag="column"):
    """Rows with ``test`` in the column are for evaluation, rows with ``train`` for training."""

    column: ColumnName
    train: Text = "train"
    test: Text = "test"

    def __post_init__(self) -> None:
        _refuse_equal("split", (self.train, self.test))


class FileSplit(Part, frozen=True, tag_field="by", tag="file"):
    """As the dataset's sources say: each has ``split = "train"`` or ``"test"``."""


# --- local work -------------------------------------------------------------------------------------------------


class Steps(Part, frozen=True, tag_field="unit", tag="steps"):
    """Local work in optimizer steps."""

    amount: Annotated[int, Meta(ge=1, le=10_000_000)]


class Epochs(Part, frozen=True, tag_field="unit", tag="epochs"):
    """Local work in passes over the training rows."""

    amount: Annotated[int, Meta(ge=1, le=10_000)]


class Seconds(Part, frozen=True, tag_field="unit", tag="seconds"):
    """Local work in seconds of the worker's own running time (not reproducible between machines)."""

    amount: Annotated[float, Meta(gt=0.0, le=86_400.0)]


class Sgd(Part, frozen=True, tag_field="name", tag="sgd"):
    """Stochastic gradient descent, with momentum where it is not 0 (Sutskever et al. 2013, as PyTorch has it)."""

    learning_rate: Positive
    momentum: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.0
    weight_decay: NotNegative = 0.0


class Adam(Part, frozen=True, tag_field="name", tag="adam"):
    """Adam (Kingma and Ba 2015, arXiv:1412.6980); its state starts anew each round."""

    learning_rate: Positive
    beta1: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.9
    beta2: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.999
    weight_decay: NotNegative = 0.0


class TabularClassifier(Part, frozen=True, tag_field="name", tag="tabular-classifier"):
    """Logistic regression (no hidden layer) to a multi-layer perceptron on the columns of a table."""

    columns: Annotated[tuple[Column, ...], Meta(min_length=1, max_length=4096)]
    label: Label
    optimizer: Sgd | Adam
    work: Steps | Epochs | Seconds
    batch_size: Annotated[int, Meta(ge=1, le=1_048_576)]
    split: SeededSplit | ColumnSplit | FileSplit
    version: Literal[1] = 1
    missing: Literal["drop", "mean"] = "drop"
    normalisation: SiteNormalisation | FixedNormalisation | NoNormalisation = SiteNormalisation()
    hidden: Annotated[tuple[Annotated[int, Meta(ge=1, le=65_536)], ...], Meta(max_length=16)] = ()
    activation: Literal["relu", "tanh"] = "relu"

    def __post_init__(self) -> None:
        split = (self.split.column,) if isinstance(self.split, ColumnSplit) else ()
        names = (*(column.name for column in self.columns), self.label.column, *split)
        refuse_repeated("column", names)
        if isinstance(self.normalisation, FixedNormalisation):
            for column in self.columns:
                if isinstance(column, Numeric) and None in {column.mean, column.standard_deviation}:
                    raise ValueError(NO_FIXED_NUMBERS(column=column.name))


class Identity(Part, frozen=True, tag_field="name", tag="identity"):
    """Returns the model plus a constant, reads no patient data: measures everything but the training."""

    parameters: Annotated[int, Meta(ge=1, le=4_000_000_000)]
    version: Literal[1] = 1
    tensors: Annotated[int, Meta(ge=1, le=10_000)] = 1
    increment: Finite = 1.0

    def __post_init__(self) -> None:
        if self.tensors > self.parameters:
            raise ValueError(TENSORS_WITHOUT_PARAMETERS(tensors=self.tensors, parameters=self.parameters))


Task = TabularClassifier | Identity


# --- the federation -----------------------------------------------------------------------------------------------


class FedAvg(Part, frozen=True, tag_field="method", tag="fedavg"):
    """Mean of the updates weighted by training rows (McMahan et al. 2017, Algorithm 1, arXiv:1602.05629).

    Server momentum is FedAvgM (Hsu et al. 2019, arXiv:1909.06335): v = momentum * v + mean; model += rate * v.
    """

    server_learning_rate: Positive = 1.0
    server_momentum: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.0


class FedProx(Part, frozen=True, tag_field="method", tag="fedprox"):
    """FedAvg with the local term proximal/2 * ||w - w_global||^2 (Li et al. 2020, Algorithm 2, arXiv:1812.06127)."""

    proximal: Positive
    server_learning_rate: Positive = 1.0
    server_momentum: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.0


Metric = Literal["auc", "accuracy", "balanced_accuracy", "loss", "calibration_error"]


class EarlyStopping(Part, frozen=True):
    """Stop when the metric did not improve by ``min_delta`` in ``patience`` rounds."""

    patience: Annotated[int, Meta(ge=1, le=1000)]
    min_delta: NotNegative = 0.0


class Federation(Part, frozen=True):
    """Who takes part, how many must, and for how long."""

    rounds: Annotated[int, Meta(ge=1, le=100_000)]
    sites: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=1000)]
    quorum: Count
    deadline_s: Annotated[float, Meta(gt=0.0, le=31_536_000.0)]
    aggregation: FedAvg | FedProx = FedAvg()
    best_by: Metric = "loss"
    early_stopping: EarlyStopping | None = None

    def __post_init__(self) -> None:
        refuse_repeated("site", self.sites)
        refuse_reserved(self.sites)
        if self.quorum > len(self.sites):
            raise ValueError(QUORUM_TOO_LARGE(quorum=self.quorum, sites=len(self.sites)))


class Privacy(Part, frozen=True):
    """What the gate enforces on everything that leaves a site."""

    minimum_cell: Annotated[int, Meta(ge=10, le=1000)] = 10
    clip_norm: Positive | None = None


class Study(Part, frozen=True):
    """One federated training effort; what a site approves is this value's digest."""

    name: Name
    purpose: Annotated[str, Meta(min_length=1, max_length=2000)]
    contact: Text
    task: Task
    federation: Federation
    privacy: Privacy = Privacy()
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    chunk_bytes: ChunkBytes = 1_048_576

    def __post_init__(self) -> None:
        refuse_reserved([self.name])
        size = 4 * sum(map(math.prod, model_shapes(self.task).values()))
        room = MANIFEST_CHUNKS * self.chunk_bytes
        if size + room // 256 > room:  # 1/256: for the tensors' header and each chunk's tag
            said = MODEL_TOO_LARGE(bytes=size, chunks=MANIFEST_CHUNKS, chunk_bytes=self.chunk_bytes)
            raise ValueError(said)


def study_digest(study: Study) -> bytes:
    """The study's identity: SHA-256 over its canonical MessagePack form, 32 bytes."""
    return hashlib.sha256(msgspec.msgpack.encode(study, order="deterministic")).digest()


Shapes = dict[str, tuple[int, ...]]
"""Tensor names in the order in which they are stored, each with its shape; every tensor is float32."""


_BINARY: Final = 2


def feature_count(column: Column) -> int:
    """How many inputs of the network a column becomes."""
    if isinstance(column, Category):
        return len(column.categories) - (column.baseline is not None)
    return 1


def model_shapes(task: Task) -> Shapes:
    """The names and shapes that a model of this task, and so every update, must have.

    ``tabular-classifier`` has ``layers.K.weight`` (outputs, inputs) and ``layers.K.bias`` (outputs,) for each layer;
    one output for two classes, else one a class. ``identity`` has ``tensor.K``.
    """
    if isinstance(task, Identity):
        share, rest = divmod(task.parameters, task.tensors)
        return {f"tensor.{index}": (share + (index < rest),) for index in range(task.tensors)}
    classes = len(task.label.classes)
    outputs = 1 if classes == _BINARY else classes
    widths = (sum(map(feature_count, task.columns)), *task.hidden, outputs)
    shapes: Shapes = {}
    for index, (inputs, outputs) in enumerate(pairwise(widths)):
        shapes[f"layers.{index}.weight"] = (outputs, inputs)
        shapes[f"layers.{index}.bias"] = (outputs,)
    return shapes


def _refuse_equal(what: str, values: tuple[str, ...]) -> None:
    """Nothing, where these are all different, also as numbers where all are: ``4`` equals ``4.0``.

    Raises:
        ValueError: two are equal.
    """
    refuse_repeated(what, values)
    try:
        numbers = {float(value) for value in values}
    except ValueError:
        return
    if len(numbers) != len(values):
        raise ValueError(SAME_NUMBER(what=what, values=", ".join(values)[:200]))
