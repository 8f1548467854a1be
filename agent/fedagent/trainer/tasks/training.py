# SPDX-License-Identifier: Apache-2.0
"""The body of the one training loop: a network, its optimizer, and the next step.

Rule: the next step depends on the tensors, the number of steps done, the rows and the seed, and on nothing else: no
global generator, no clock (but where the work is in seconds). So a checkpoint of those resumes bit for bit.
"""

import hashlib
import math
import time
from typing import Final, assert_never

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import override

from fedagent.conditions.messages import MODEL_TENSORS
from fedagent.conditions.trainer import LOSS_NOT_FINITE, OTHER_TASK, OUTPUTS_NOT_FINITE, TRAINING_NOT_FINITE
from fedagent.errors import TrainerError
from fedagent.trainer.tasks import TaskError
from fedagent.trainer.tasks.preparation import Floats, Rows
from fedagent.trainer.tensor_file import Tensors
from fedagent.wire.messages import Reason
from fedagent.wire.study import (
    Adam,
    Epochs,
    FedProx,
    Seconds,
    Sgd,
    Steps,
    Study,
    TabularClassifier,
    model_shapes,
)

EVALUATION_ROWS: Final = 65_536
"""Rows that go through the network at once where no gradient is needed: bounds the memory of a wide layer."""

DIVERGED: Final = 1e29
"""An output or a loss beyond it counts as not finite: ``wire.values.Finite``, which carries them, ends at 1e30."""

_OPTIMIZER: Final = "optimizer."


def configure(threads: int) -> None:
    """From here on torch computes the same bits each time, with that many threads."""
    torch.use_deterministic_algorithms(mode=True)
    torch.set_num_threads(threads)


def seed_of(study: Study, round_number: int, site: str) -> bytes:
    """The seed of one site's part in one round, 32 bytes."""
    return hashlib.sha256(msgspec.msgpack.encode((study.seed, round_number, site))).digest()


def permutation(seed: bytes, epoch: int, rows: int) -> NDArray[np.int64]:
    """The order in which an epoch takes the rows."""
    digest = hashlib.sha256(seed + epoch.to_bytes(8, "big")).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big"))).permutation(rows)


class Network(torch.nn.Module):
    """Linear layers with the study's activation between them; its parameters are a model's tensors by their names."""

    def __init__(self, task: TabularClassifier, model: Tensors) -> None:
        """Takes copies of the model's tensors.

        Raises:
            TaskError: they are not the tensors of this task.
        """
        super().__init__()
        shapes = model_shapes(task)
        if {name: tensor.shape for name, tensor in model.items()} != shapes:
            raise TaskError(Reason.UNREADABLE, MODEL_TENSORS())
        weights = [shape for name, shape in shapes.items() if name.endswith(".weight")]
        self.layers = torch.nn.ModuleList(torch.nn.Linear(inputs, outputs) for outputs, inputs in weights)
        self.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in model.items()})
        self._activation = {"relu": torch.relu, "tanh": torch.tanh}[task.activation]

    @override
    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Logits, shape (rows, outputs), of features of shape (rows, features)."""
        *hidden, last = self.layers
        for layer in hidden:
            features = self._activation(layer(features))
        logits: torch.Tensor = last(features)
        return logits

    def tensors(self) -> Tensors:
        """Copies of the parameters, by name, in the model's order."""
        return {name: parameter.detach().numpy().copy() for name, parameter in self.named_parameters()}

    def outputs(self, rows: Rows) -> Floats:
        """The logits of all rows, float64, shape (rows, outputs).

        Raises:
            TaskError: they are not finite.
        """
        with torch.no_grad():
            blocks = [
                self(block).numpy() for block in torch.split(torch.from_numpy(rows.features), EVALUATION_ROWS)
            ]
        logits = np.concatenate(blocks).astype(np.float64)
        if not (np.abs(logits) <= DIVERGED).all():  # NaN is not
            raise TaskError(Reason.NOT_FINITE, OUTPUTS_NOT_FINITE())
        return logits


class Training:
    """A network on its way from the global model through the local work.

    Attributes:
        step: optimizer steps done.
        loss_sum: of those steps' losses (without the proximal term).
    """

    def __init__(self, study: Study, model: Tensors, rows: Rows, seed: bytes) -> None:
        """At step 0.

        Args:
            rows: at least one.
            seed: decides, with the epoch, the order of the rows.

        Raises:
            TaskError: the model is not of this task.
        """
        self._task = tabular_task(study)
        self.network = Network(self._task, model)
        self.step, self.loss_sum = 0, 0.0
        aggregation = study.federation.aggregation
        self._proximal = aggregation.proximal if isinstance(aggregation, FedProx) else 0.0
        self._global = model
        self._anchors = [torch.from_numpy(tensor) for tensor in model.values()]
        self._optimizer = _optimizer(self._task.optimizer, self.network)
        self._features, self._labels = torch.from_numpy(rows.features), torch.from_numpy(rows.labels)
        self._seed = seed
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)
        self._batches = math.ceil(len(rows.labels) / self._task.batch_size)
        self._started = time.thread_time()

    @property
    def steps(self) -> int:
        """How many the whole work has; 0 where it is bounded by time."""
        match self._task.work:
            case Steps(amount=amount):
                return amount
            case Epochs(amount=amount):
                return amount * self._batches
            case Seconds():
                return 0
            case _:
                assert_never(self._task.work)

    @property
    def elapsed_s(self) -> float:
        """This thread's CPU time for it: a frozen or starved worker uses nothing up, more threads do not either."""
        return time.thread_time() - self._started

    @property
    def done(self) -> bool:
        """Whether the work is done."""
        if isinstance(self._task.work, Seconds):
            return self.elapsed_s >= self._task.work.amount
        return self.step >= self.steps

    @property
    def mean_loss(self) -> float | None:
        """Over the steps done."""
        return self.loss_sum / self.step if self.step else None

    def advance(self) -> None:
        """One optimizer step on the next mini-batch.

        Raises:
            TaskError: the loss is not finite; the network is as it was.
        """
        features, labels = self._next_batch()
        self._optimizer.zero_grad()
        loss = _loss(self.network(features), labels)
        value = loss.item()
        if not value <= DIVERGED:  # NaN is not
            raise TaskError(Reason.NOT_FINITE, LOSS_NOT_FINITE(step=self.step + 1))
        if self._proximal:
            loss = loss + self._proximal / 2 * self._squared_distance()
        torch.autograd.backward(loss)
        self._optimizer.step()
        self.step += 1
        self.loss_sum += value

    def _next_batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        epoch, index = divmod(self.step, self._batches)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = torch.from_numpy(permutation(self._seed, epoch, len(self._labels)))
        size = self._task.batch_size
        chosen = self._order[index * size : (index + 1) * size]
        return self._features[chosen], self._labels[chosen]

    def _squared_distance(self) -> torch.Tensor:
        pairs = zip(self.network.parameters(), self._anchors, strict=True)
        return torch.stack([(parameter - anchor).square().sum() for parameter, anchor in pairs]).sum()

    def tensors(self) -> Tensors:
        """Copies of all tensors that the next step reads: the network's and the optimizer's."""
        tensors = self.network.tensors()
        for index, state in self._optimizer.state_dict()["state"].items():
            for name, tensor in state.items():
                if tensor is not None:
                    tensors[f"{_OPTIMIZER}{index}.{name}"] = tensor.numpy().copy()
        return tensors

    def restore(self, tensors: Tensors, *, step: int, elapsed_s: float, loss_sum: float) -> None:
        """Goes on from there, as if it had never been elsewhere.

        Args:
            tensors: what ``tensors`` gave; the caller keeps no use for them.
        """
        network: dict[str, torch.Tensor] = {}
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith(_OPTIMIZER):
                index, _, key = name.removeprefix(_OPTIMIZER).partition(".")
                state.setdefault(int(index), {})[key] = torch.from_numpy(tensor)
            else:
                network[name] = torch.from_numpy(tensor)
        self.network.load_state_dict(network)
        self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": state})
        self.step, self.loss_sum = step, loss_sum
        self._started = time.thread_time() - elapsed_s

    def update(self) -> Tensors:
        """Local minus global.

        Raises:
            TaskError: it is not finite.
        """
        update = {name: tensor - self._global[name] for name, tensor in self.network.tensors().items()}
        if not all(np.isfinite(tensor).all() for tensor in update.values()):
            raise TaskError(Reason.NOT_FINITE, TRAINING_NOT_FINITE())
        return update


def tabular_task(study: Study) -> TabularClassifier:
    """The study's task.

    Raises:
        TrainerError: it is another one.
    """
    if not isinstance(study.task, TabularClassifier):
        raise TrainerError(OTHER_TASK(study=study.name, task=type(study.task).__name__))
    return study.task


def _optimizer(settings: Sgd | Adam, network: Network) -> torch.optim.Optimizer:
    match (
        settings
    ):  # foreach=False: the plain loop over the parameters, whose order of operations is documented
        case Sgd():
            return torch.optim.SGD(
                network.parameters(),
                lr=settings.learning_rate,
                momentum=settings.momentum,
                weight_decay=settings.weight_decay,
                foreach=False,
            )
        case Adam():
            return torch.optim.Adam(
                network.parameters(),
                lr=settings.learning_rate,
                betas=(settings.beta1, settings.beta2),
                weight_decay=settings.weight_decay,
                foreach=False,
            )
        case _:
            assert_never(settings)


def _loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy over the batch; one output is the logit of the second class."""
    if logits.shape[1] == 1:
        return torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0], labels.to(logits.dtype))
    return torch.nn.functional.cross_entropy(logits, labels)
