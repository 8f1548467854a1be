# SPDX-License-Identifier: Apache-2.0
"""Studies that cannot be: each command says one line, ends with its code, and changes no file, at the centre and at a site."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import tomli_w

from fedagent.cli.aggregator import main as centre_main
from fedagent.cli.main import main as site_main
from tests.fakes.contents import contents
from tests.fakes.daemon import FakeDaemon, write_settings
from tests.fakes.examples import STUDY
from tests.fakes.scenes import waiting


class Place:
    """A centre with one study that was created, or a site that was told of one."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.study = folder, folder / "study.toml"
        password = folder / "password"
        password.write_text("secret\n")
        words = ["init", str(folder / "centre"), "--host", "localhost", "--password-file", str(password)]
        assert centre_main(words) == 0
        self.write()
        assert self.at_the_centre("study", "create", str(self.study)) == 0
        self.config = write_settings(folder)
        (folder / "datasets.d" / "cardiology.toml").write_text("")
        capsys.readouterr()

    def write(self, **changes: Any) -> None:  # noqa: ANN401 (whatever a person writes)
        """The good study with keys changed; ``a__b`` is the key b of the table a."""
        made: dict[str, Any] = msgspec.to_builtins(STUDY)
        for path, value in changes.items():
            table, *rest = path.split("__")
            (made.setdefault(table, {}) if rest else made)[rest[0] if rest else table] = value
        self.study.write_text(tomli_w.dumps(made))

    def at_the_centre(self, *words: str) -> int:
        return centre_main([*words, "--config", str(self.folder / "centre" / "fedaggregator.toml")])

    def at_the_site(self, *words: str) -> int:
        with FakeDaemon(self.folder / "run", waiting()):
            return site_main(["study", *words, "--config", str(self.config)])


Act = Callable[[Place], int]


class Case(NamedTuple):
    """What a person does, and the line; the folder stands in it as ``{}``."""

    name: str
    act: Act
    exit_code: int
    line: str


def creating(**changes: Any) -> Act:  # noqa: ANN401 (whatever a person writes)
    def act(place: Place) -> int:
        place.write(**changes)
        return place.at_the_centre("study", "create", str(place.study))

    return act


def centre(*words: str) -> Act:
    return lambda place: place.at_the_centre(*words)


def site(*words: str) -> Act:
    return lambda place: place.at_the_site(*words)


CASES = [
    Case(
        "two studies with one name",
        creating(seed=8),
        64,
        "fedaggregator: another study is named 'heart-1'; a study never changes, so choose a new name [FA8621]",
    ),
    Case(
        "a reserved name",
        creating(name="site"),
        78,
        "fedaggregator: {}/study.toml: -: 'site' is a reserved word; choose another name; correct it [FA2005]",
    ),
    Case(
        "a quorum above the sites",
        creating(federation__quorum=4),
        78,
        "fedaggregator: {}/study.toml: federation: a quorum of 4 needs more than the 3 sites; correct it [FA2005]",
    ),
    Case(
        "a site twice",
        creating(federation__sites=["clinic-a", "clinic-a"], federation__quorum=1),
        78,
        "fedaggregator: {}/study.toml: federation: site 'clinic-a' is there twice; correct it [FA2005]",
    ),
    Case(
        "a small cell below ten",
        creating(privacy__minimum_cell=5),
        78,
        "fedaggregator: {}/study.toml: privacy.minimum_cell: expected integer >= 10; correct it [FA2005]",
    ),
    Case(
        "a task that is not installed",
        creating(task__name="tabular-regressor"),
        78,
        "fedaggregator: {}/study.toml: task.name: 'tabular-regressor' is not one of 'identity', 'tabular-classifier'; did you mean 'tabular-classifier'? [FA2008]",
    ),
    Case(
        "no such file",
        centre("study", "create", "/absent/study.toml"),
        78,
        "fedaggregator: cannot read /absent/study.toml: No such file or directory; correct its name or permissions [FA2001]",
    ),
    Case(
        "a start of an unknown study",
        centre("study", "start", "lung"),
        64,
        "fedaggregator: there is no study 'lung'; fedaggregator study status lists them [FA8609]",
    ),
    Case(
        "a stop without a daemon",
        centre("study", "stop", "heart-1"),
        69,
        "fedaggregator: fedaggregator is not running (nobody answers at {}/centre/run/control.sock); systemctl start fedaggregator [FA4605]",
    ),
    Case(
        "a status of an unknown study",
        centre("study", "status", "lung"),
        64,
        "fedaggregator: there is no study 'lung'; fedaggregator study status lists them [FA8609]",
    ),
    Case(
        "a model of an unknown study",
        centre("model", "list", "lung"),
        64,
        "fedaggregator: there is no study 'lung'; fedaggregator study status lists them [FA8609]",
    ),
    Case(
        "an approval of an unknown study",
        site("approve", "lung", "--dataset", "cardiology"),
        64,
        "fedagent: no study 'lung' is known here; fedagent study list shows those that are [FA7607]",
    ),
    Case(
        "an approval without a dataset",
        site("approve", "heart-1"),
        64,
        "fedagent: it is not said which data study heart-1 may read; fedagent study approve heart-1 --dataset NAME [FA9707]",
    ),
    Case(
        "an approval of an unknown dataset",
        site("approve", "heart-1", "--dataset", "oncology"),
        78,
        "fedagent: there is no dataset 'oncology' in {}/datasets.d; fedagent dataset add oncology [FA9721]",
    ),
    Case(
        "an approval of no rounds",
        site("approve", "heart-1", "--dataset", "cardiology", "--rounds", "0"),
        64,
        "fedagent: --rounds 0: must be at least 1; to end the study here: fedagent study revoke heart-1 [FA9708]",
    ),
    Case(
        "a revocation of what is not approved",
        site("revoke", "heart-1"),
        1,
        "fedagent: study heart-1 is not approved here: there is nothing to revoke [FA9722]",
    ),
    Case(
        "a name that is a path",
        site("revoke", "../heart"),
        64,
        "fedagent: '../heart' cannot be a study's name; use 2 to 32 of a-z, 0-9 and -, not - first [FA9706]",
    ),
]


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_a_study_that_cannot_be_is_one_line_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: Case
) -> None:
    place = Place(tmp_path, capsys)
    before = contents(tmp_path / "centre", tmp_path / "approvals.d", tmp_path / "datasets.d")
    code = case.act(place)
    said = capsys.readouterr()
    assert said.err == case.line.replace("{}", str(tmp_path)) + "\n"
    assert (said.out, code) == ("", case.exit_code)
    assert contents(tmp_path / "centre", tmp_path / "approvals.d", tmp_path / "datasets.d") == before
