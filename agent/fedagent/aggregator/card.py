# SPDX-License-Identifier: Apache-2.0
"""A model's card: where it comes from, what it expects and gives, how good it was where, how to load it (Markdown).

Rule: it says only what the store and the study can prove, and whatever a person needs who has nothing but the file.
The headings follow Mitchell et al. 2019 (arXiv:1810.03993).
"""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, assert_never

import msgspec

from fedagent import VERSION
from fedagent.aggregator.metrics import COMBINED, RoundResult
from fedagent.aggregator.store import ModelRecord
from fedagent.wire.messages import MetricValue
from fedagent.wire.study import (
    Boolean,
    Category,
    Column,
    FixedNormalisation,
    Identity,
    NoNormalisation,
    Numeric,
    SiteNormalisation,
    Study,
    TabularClassifier,
    model_shapes,
    study_digest,
)

TRAINING_LOSS: Final = "training_loss"
"""Of the round's training, not of the model that was received in it."""

_BINARY: Final = 2


def model_card(study: Study, model: ModelRecord, results: Sequence[RoundResult], file: str) -> str:
    """The card of the model in the file of that name.

    Args:
        results: of all closed rounds so far.
    """
    trained = [each for each in results if each.round <= model.number]
    measured = next((each for each in results if each.round == model.number + 1), None)
    sections = [
        [f"# Model of study {study.name} after round {model.number} of {study.federation.rounds}"],
        list(_origin(study, model, file)),
        ["## Trained at", "", *_sites(trained), "", *_training(study)],
        list(_interface(study.task)),
        ["## Measured at", "", *_metrics(study, measured)],
        ["## Load it in PyTorch", "", "```python", *_code(study.task, file), "```"],
    ]
    return "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def _origin(study: Study, model: ModelRecord, file: str) -> Iterator[str]:
    made = datetime.fromtimestamp(model.made_at, UTC).isoformat(timespec="seconds")
    yield f"- Purpose: {_line(study.purpose)}"
    yield f"- Contact: {_line(study.contact)}"
    yield f"- Made: {made}; exported by fedagent {VERSION}"
    yield f"- File: `{file}`, safetensors, float32, SHA-256 `{model.reference.plaintext.hex()}`"
    yield f"- Study's digest, which each site that took part approved: `{study_digest(study).hex()}`"


# --- how it was trained -------------------------------------------------------------------------------------------------


def _sites(trained: Sequence[RoundResult]) -> Iterator[str]:
    """One line a site and state of its data: a new snapshot is a new line."""
    if not trained:
        yield "Nowhere: these are the initial weights."
        return
    rounds: dict[tuple[str, int, str], list[int]] = {}
    for result in trained:
        for site in result.sites:
            rounds.setdefault((site.site, site.rows, site.snapshot.hex()[:12]), []).append(result.round)
    yield "| site | training rows | snapshot | rounds |"
    yield "|---|---:|---|---|"
    for (name, rows, snapshot), numbers in sorted(rounds.items()):
        yield f"| {name} | {rows} | `{snapshot}` | {ranges(numbers)} |"


def ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers in short: ``1-3, 5``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _training(study: Study) -> Iterator[str]:
    task, privacy = study.task, study.privacy
    yield f"- Task: {task.__struct_config__.tag} version {task.version}, seed {study.seed}"
    if isinstance(task, TabularClassifier):
        yield f"- Local work a round: {_part(task.work)}, batches of {task.batch_size}"
        yield f"- Optimizer: {_part(task.optimizer)}"
        yield f"- Test patients, never trained on: by {_part(task.split)}"
    yield f"- Aggregation, weighted by training rows: {_part(study.federation.aggregation)}"
    if privacy.clip_norm is not None:
        yield f"- Updates clipped to a norm of {privacy.clip_norm:g}"


def _part(part: msgspec.Struct) -> str:
    """A part of the study in the study file's own words: ``sgd (learning_rate 0.01, momentum 0.0, ...)``."""
    fields: dict[str, object] = msgspec.to_builtins(part)
    tag = fields.pop(part.__struct_config__.tag_field or "")
    return f"{tag} ({', '.join(f'{name} {value}' for name, value in fields.items())})" if fields else str(tag)


# --- what it expects and gives ------------------------------------------------------------------------------------------


def _interface(task: TabularClassifier | Identity) -> Iterator[str]:
    yield "## Input and output"
    yield ""
    if isinstance(task, Identity):
        yield "None: the task measures the exchange of models, and reads no patient data."
        return
    yield "| feature | column | is |"
    yield "|---:|---|---|"
    features = [(column.name, text) for column in task.columns for text in _features(column)]
    for number, (name, text) in enumerate(features):
        yield f"| {number} | {name} | {_line(text)} |"
    yield ""
    yield f"- {_normalisation(task)}"
    yield (
        "- Rows with a missing value, or one that is out of range or no category, were left out."
        if task.missing == "drop"
        else "- A missing number is the mean of the site's own training rows, a missing category all zeros."
    )
    classes = ", ".join(map(_line, task.label.classes))
    how = (
        "a sigmoid gives the probability of the second"
        if _is_binary(task)
        else "a softmax gives probabilities"
    )
    yield f"- Predicts {task.label.column}: {classes}; {how}."


def _features(column: Column) -> Iterator[str]:
    """What each of the column's features is, in the model's order."""
    match column:
        case Numeric():
            limits = [f"from {column.minimum:g}"] if column.minimum is not None else []
            limits += [f"to {column.maximum:g}"] if column.maximum is not None else []
            fixed = [f"mean {column.mean:g}, standard deviation {column.standard_deviation:g}"] if (
                column.mean is not None and column.standard_deviation is not None
            ) else []  # fmt: skip
            yield ", ".join([" ".join(["number", *limits, *([column.unit] if column.unit else [])]), *fixed])
        case Category():
            yield from (f"1 if it is {each}, else 0" for each in column.categories if each != column.baseline)
        case Boolean():
            yield "1 if it is true, else 0"
        case _:
            assert_never(column)


def _normalisation(task: TabularClassifier) -> str:
    match task.normalisation:
        case SiteNormalisation(features=which):
            return (
                f"Normalised: {'every feature' if which == 'all' else 'numbers'} minus the mean, divided by the unbiased "
                "standard deviation, both of the site's own training rows (a constant one is 0). "
                "Whoever uses the model takes those of their own patients."
            )
        case FixedNormalisation():
            return (
                "Normalised: numbers minus the mean, divided by the standard deviation, both as in the table."
            )
        case NoNormalisation():
            return "Not normalised."
        case _:
            assert_never(task.normalisation)


def _is_binary(task: TabularClassifier) -> bool:
    return len(task.label.classes) == _BINARY


# --- how good it was ----------------------------------------------------------------------------------------------------


def _metrics(study: Study, measured: RoundResult | None) -> Iterator[str]:
    if measured is None or not measured.combined:
        yield "No site has measured this model (yet)."
        return
    sites = [(each.site, each.metrics) for each in measured.sites]
    names = sorted({each.name for each in measured.combined} - {TRAINING_LOSS})
    yield f"| site | test patients | {' | '.join(names)} |"
    yield f"|---|---:|{'---:|' * len(names)}"
    for site, metrics in [*sites, (COMBINED, measured.combined)]:
        yield f"| {site} | {_values(metrics, names)} |"
    yield ""
    yield (
        f"Each site's own test patients, at least {study.privacy.minimum_cell} of them; `{COMBINED}` is the mean weighted by "
        "patients. How good it is anywhere else is not known."
    )


def _values(metrics: Sequence[MetricValue], names: Sequence[str]) -> str:
    found = {each.name: each for each in metrics}
    counts = sorted({found[name].count for name in names if name in found})
    values = (f"{found[name].value:.4f}" if name in found else "" for name in names)
    return " | ".join(["/".join(map(str, counts)), *values])


# --- how to use it ------------------------------------------------------------------------------------------------------


def _code(task: TabularClassifier | Identity, file: str) -> Iterator[str]:
    """A program that loads the file; it runs as it is, where torch and safetensors are installed."""
    shapes = model_shapes(task)
    yield "import torch"
    yield "from safetensors.torch import load_file"
    yield ""
    yield f"model = load_file({json.dumps(file)})"
    if isinstance(task, Identity):
        yield "print({name: tuple(tensor.shape) for name, tensor in model.items()})"
        return
    weights = [name for name in shapes if name.endswith(".weight")]
    inputs = shapes[weights[0]][1]
    yield f"x = torch.zeros(1, {inputs})  # rows of the {inputs} features above"
    for weight in weights:
        outputs, inputs = shapes[weight]
        bias = weight.replace(".weight", ".bias")
        layer = f'torch.nn.functional.linear(x, model["{weight}"], model["{bias}"])'
        call = layer if weight == weights[-1] else f"torch.{task.activation}({layer})"
        yield f"x = {call}  # ({outputs}, {inputs}) and ({outputs},)"
    yield f"print({'torch.sigmoid(x)' if _is_binary(task) else 'torch.softmax(x, dim=1)'})"


def _line(text: str) -> str:
    """A study's text on one line that ends no table's cell."""
    return " ".join(text.split()).replace("|", "\\|")
