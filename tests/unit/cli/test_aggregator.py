# SPDX-License-Identifier: Apache-2.0
"""The command ``fedaggregator``: what it makes, what it prints, how it ends."""

import io
import json
import re
import stat
import sys
from pathlib import Path

import msgspec
import pytest
import tomli_w
from typing_extensions import override

from fedagent.aggregator import round_events as on
from fedagent.aggregator.metrics import SiteResult
from fedagent.aggregator.models import Models
from fedagent.aggregator.rounds import open_round, step
from fedagent.aggregator.settings import AggregatorSettings, read_aggregator_settings
from fedagent.aggregator.store import ModelRecord, Store, Upload
from fedagent.cli.aggregator import main
from fedagent.cli.main import main as enroll
from fedagent.security.certificates import Signer, Trust, make_key, make_request
from fedagent.security.identity import AGGREGATOR
from fedagent.storage.blobs import BlobFolder
from fedagent.transport import tls
from fedagent.wire.manifest import Manifest
from fedagent.wire.messages import MetricValue, RoundKind
from tests.fakes.daemon import write_settings
from tests.fakes.examples import BLOB, KEY, OTHER, STUDY


class Centre:
    """A study centre as ``init`` makes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "centre"
        self.password = folder / "password"
        self.password.write_text("secret\n")
        self.study = folder / "study.toml"
        self.study.write_text(tomli_w.dumps(msgspec.to_builtins(STUDY)))
        self.config = self.folder / "fedaggregator.toml"
        words = ["init", str(self.folder), "--host", "localhost", "--host", "127.0.0.1", "--port", "8899"]
        assert main([*words, "--password-file", str(self.password)]) == 0

    @property
    def settings(self) -> AggregatorSettings:
        return read_aggregator_settings(self.config)

    def run(self, *words: str) -> int:
        return main([*words, "--config", str(self.config)])


@pytest.fixture
def centre(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Centre:
    made = Centre(tmp_path)
    capsys.readouterr()
    return made


def request_of(centre: Centre, name: str) -> Path:
    path = centre.folder.parent / f"{name}.csr"
    path.write_bytes(make_request(make_key(), name))
    return path


def with_a_closed_round(centre: Centre) -> bytes:
    """The study's first round is closed; gives the digest of the model after it."""
    store, settings = Store(centre.settings.store), centre.settings
    round_ = open_round(STUDY, 1, RoundKind.TRAIN, 1000.0)
    models = Models(settings.models, BlobFolder(settings.blobs))
    manifest = Manifest(size_bytes=0, chunk_bytes=STUDY.chunk_bytes, chunks=())
    with store.database.transaction() as connection:
        for site in STUDY.federation.sites:
            for event in (on.Offered(site, BLOB), on.Stored(site, BLOB)):
                round_, _ = step(round_, event, 1000.0)
            metric = MetricValue(name="auc", value=0.75, count=40)
            result = SiteResult(site=site, rows=100, snapshot=OTHER, metrics=(metric,))
            upload = Upload(site=site, blob=BLOB, manifest=manifest, key=KEY, rows=100)
            store.save_upload(connection, STUDY.name, 1, upload, result)
        round_, _ = step(round_, on.Folded(STUDY.federation.sites), 1000.0)
        store.save_round(connection, round_)
        for number in (0, 1):
            published = models.publish(models.write("draft", [b"model", bytes([number])]), STUDY.chunk_bytes)
            model = ModelRecord(
                study=STUDY.name,
                number=number,
                reference=published.reference,
                manifest=published.manifest,
                key=published.key,
                made_at=1000.0,
            )
            store.add_model(connection, model)
    newest = store.newest_model(STUDY.name)
    store.close()
    assert newest is not None
    return newest.reference.plaintext


# --- init and site ------------------------------------------------------------------------------------------------


def test_init_makes_identities_that_belong_together_and_keys_that_only_their_owner_reads(
    centre: Centre,
) -> None:
    folder = centre.folder
    trust = Trust((folder / "ca.crt").read_bytes())
    signer = Signer((folder / "aggregator.crt").read_bytes(), (folder / "aggregator.key").read_bytes())
    assert signer.identity == AGGREGATOR
    assert trust.authority is not None
    for key in ("aggregator.key", "broker.key", "authority/ca.key"):
        assert stat.S_IMODE((folder / key).stat().st_mode) == 0o600
    assert b"ENCRYPTED" in (folder / "authority" / "ca.key").read_bytes()
    tls.context(centre.settings.broker)


def test_init_writes_settings_for_its_own_folder(centre: Centre) -> None:
    assert (centre.settings.broker.host, centre.settings.broker.port) == ("localhost", 8899)
    assert centre.settings.state == centre.folder / "state"


def test_init_does_not_write_over_an_authority(centre: Centre, capsys: pytest.CaptureFixture[str]) -> None:
    before = (centre.folder / "ca.crt").read_bytes()
    words = ["init", str(centre.folder), "--host", "x", "--password-file", str(centre.password)]
    assert main(words) == 64
    assert "has an authority already" in capsys.readouterr().err
    assert (centre.folder / "ca.crt").read_bytes() == before


def test_a_signed_site_is_listed_and_its_certificate_is_the_authoritys(
    centre: Centre, capsys: pytest.CaptureFixture[str]
) -> None:
    out = centre.folder.parent / "clinic-a.crt"
    words = ("site", "sign", str(request_of(centre, "clinic-a")), "--password-file", str(centre.password))
    assert centre.run(*words, "--out", str(out)) == 0
    assert b"BEGIN CERTIFICATE" in out.read_bytes()
    assert centre.run(*words) == 0
    assert "BEGIN CERTIFICATE" in capsys.readouterr().out
    assert centre.run("site", "list", "--json") == 0
    (site,) = json.loads(capsys.readouterr().out)
    assert (site["name"], site["online"]) == ("clinic-a", None)
    assert centre.run("site", "list") == 0
    assert capsys.readouterr().out.startswith("clinic-a: never heard; certificate until ")


def test_signing_shows_the_keys_number_that_the_site_saw(
    centre: Centre, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request, out = tmp_path / "clinic-a.csr", tmp_path / "clinic-a.crt"
    config = write_settings(tmp_path)
    config.write_text(f'{config.read_text()}broker.key = "{tmp_path}/site.key"\n')
    assert enroll(["enroll", "--request", str(request), "--config", str(config)]) == 0
    (number,) = re.findall(r"^  ([0-9a-f]{64})$", capsys.readouterr().err, flags=re.MULTILINE)
    words = ("site", "sign", str(request), "--password-file", str(centre.password))
    for more in ((), ("--out", str(out))):
        assert centre.run(*words, *more) == 0
        assert f"\n  {number}\n" in capsys.readouterr().err
    assert centre.run("site", "list", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["key_fingerprint"] == number


def test_where_there_is_nothing_yet_the_next_step_is_named(
    centre: Centre, capsys: pytest.CaptureFixture[str]
) -> None:
    assert centre.run("site", "list") == 0
    assert capsys.readouterr().out == "no site was signed yet: fedaggregator site sign FILE\n"
    assert centre.run("study", "create", str(centre.study)) == 0
    assert centre.run("model", "list", STUDY.name) == 0
    assert f"has no model yet: fedaggregator study status {STUDY.name}" in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, b"\xff\xfe"], ids=["missing", "no text"])
def test_a_password_file_that_cannot_be_used_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_bytes(content)
    words = ["init", str(tmp_path / "centre"), "--host", "x", "--password-file", str(secret)]
    assert main(words) == 64
    told = capsys.readouterr().err
    assert str(secret) in told
    assert "Errno" not in told


def test_signing_needs_the_password(
    centre: Centre, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    request = str(request_of(centre, "clinic-a"))
    wrong = centre.folder.parent / "wrong"
    wrong.write_text("guess")
    assert centre.run("site", "sign", request, "--password-file", str(wrong)) == 78
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert centre.run("site", "sign", request) == 64
    assert "give --password-file" in capsys.readouterr().err


def test_a_request_for_another_name_is_not_signed(centre: Centre, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("site", "sign", str(request_of(centre, "clinic-a")), "--password-file", str(centre.password))
    assert centre.run(*words, "--name", "clinic-b") == 64
    assert "is for site 'clinic-a'" in capsys.readouterr().err
    assert centre.run("site", "sign", "nowhere.csr") == 64


# --- studies --------------------------------------------------------------------------------------------------------


def test_a_study_is_checked_created_and_started_without_a_daemon(
    centre: Centre, capsys: pytest.CaptureFixture[str]
) -> None:
    assert centre.run("study", "check", str(centre.study)) == 0
    assert centre.run("study", "create", str(centre.study)) == 0
    assert centre.run("study", "status") == 0
    assert "waits for its start: fedaggregator study start heart-1" in capsys.readouterr().out
    assert centre.run("study", "start", STUDY.name) == 0
    capsys.readouterr()
    assert centre.run("study", "status", STUDY.name, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    (status,) = report["studies"]
    assert (status["phase"], status["round"]) == ("running", None)
    assert status["waits_for"] == "the aggregator, which does not answer"
    assert report["aggregator"]["running"] is False


def test_stopping_needs_the_daemon_because_the_sites_must_hear_it(
    centre: Centre, capsys: pytest.CaptureFixture[str]
) -> None:
    assert centre.run("study", "stop", STUDY.name) == 69
    assert "systemctl start fedaggregator" in capsys.readouterr().err


def test_a_wrong_study_is_refused_before_anything_is_made(
    centre: Centre, capsys: pytest.CaptureFixture[str]
) -> None:
    centre.study.write_text("name = 'heart-1'\n")
    for word in ("check", "create"):
        assert centre.run("study", word, str(centre.study)) == 78
    assert not centre.settings.store.exists()
    assert "study.toml" in capsys.readouterr().err


def test_status_without_any_state_says_how_to_begin(
    centre: Centre, capsys: pytest.CaptureFixture[str]
) -> None:
    assert centre.run("study", "status") == 69
    assert "study create FILE" in capsys.readouterr().err


def test_status_can_be_watched_in_a_pipe(
    centre: Centre, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = []

    def ctrl_c(seconds: float) -> bool:
        waits.append(seconds)
        if len(waits) == 1:
            assert centre.run("study", "start", STUDY.name) == 0
            return True
        raise KeyboardInterrupt

    monkeypatch.setattr("fedagent.cli.watch._wait", ctrl_c)
    assert centre.run("study", "create", str(centre.study)) == 0
    capsys.readouterr()
    assert centre.run("study", "status", STUDY.name, "--watch=5") == 0
    assert waits == [5.0, 5.0]
    states = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  state ")]
    assert [line.split()[1] for line in states] == ["created", "running"]


def test_status_shows_each_sites_part_and_the_last_metrics(
    centre: Centre, capsys: pytest.CaptureFixture[str]
) -> None:
    centre.run("study", "create", str(centre.study))
    centre.run("study", "start", STUDY.name)
    with_a_closed_round(centre)
    capsys.readouterr()
    assert centre.run("study", "status", STUDY.name) == 0
    text = capsys.readouterr().out
    assert "study       heart-1, round 1 of 10" in text
    assert "; this round is closed for " in text
    assert "  metrics   of the last round: auc 0.7500" in text
    assert "  clinic-b  folded for " in text


# --- metrics and models -----------------------------------------------------------------------------------------------


def test_metrics_are_printed_as_csv_and_as_json(centre: Centre, capsys: pytest.CaptureFixture[str]) -> None:
    centre.run("study", "create", str(centre.study))
    with_a_closed_round(centre)
    capsys.readouterr()
    assert centre.run("metrics", STUDY.name) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["round,kind,model,site,metric,value,count", "1,train,0,all,auc,0.75,120"]
    assert centre.run("metrics", STUDY.name, "--json") == 0
    assert len(json.loads(capsys.readouterr().out)) == len(lines) - 1
    assert centre.run("metrics", "nope") == 64


def test_an_exported_model_has_its_card_beside_it(centre: Centre, capsys: pytest.CaptureFixture[str]) -> None:
    centre.run("study", "create", str(centre.study))
    digest = with_a_closed_round(centre)
    file = centre.folder.parent / "model.safetensors"
    assert centre.run("model", "export", STUDY.name, str(file)) == 0
    assert file.read_bytes() == b"model\x01"
    card = file.with_suffix(".md").read_text()
    for said in (STUDY.purpose, digest.hex(), "| clinic-b | 100 | `"):
        assert said in card
    assert "No site has measured this model" in card
    assert centre.run("model", "export", STUDY.name, str(file), "--best") == 0
    assert file.read_bytes() == b"model\x00"
    assert "| all | 120 | 0.7500 |" in file.with_suffix(".md").read_text()
    assert centre.run("model", "export", STUDY.name, str(file), "--round", "0") == 0
    assert centre.run("model", "export", STUDY.name, str(file), "--round", "7") == 64
    assert "has no such model" in capsys.readouterr().err


def test_a_model_that_went_to_stay_in_the_budget_is_named(
    centre: Centre, capsys: pytest.CaptureFixture[str]
) -> None:
    centre.run("study", "create", str(centre.study))
    with_a_closed_round(centre)
    for path in centre.folder.rglob("*.safetensors"):
        path.unlink()
    assert centre.run("model", "export", STUDY.name, str(centre.folder / "model.safetensors")) == 1
    assert "was removed to stay in storage.model_budget_mib" in capsys.readouterr().err


def test_models_are_listed_with_the_best_marked(centre: Centre, capsys: pytest.CaptureFixture[str]) -> None:
    centre.run("study", "create", str(centre.study))
    with_a_closed_round(centre)
    capsys.readouterr()
    assert centre.run("model", "list", STUDY.name) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "best auc 0.7500" in first
    assert "best" not in second
    assert centre.run("model", "list", STUDY.name, "--json") == 0
    assert [each["number"] for each in json.loads(capsys.readouterr().out)] == [0, 1]


# --- how it ends --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [[], ["bogus"], ["study"], ["model", "export", "x"], ["metrics", "x", "--csv", "--json"]],
    ids=str,
)
def test_wrong_usage_ends_with_64_and_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 64
    assert capsys.readouterr().err.count("\n") == 1


def test_a_missing_settings_file_is_a_configuration_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", "status", "--config", str(tmp_path / "none.toml")]) == 78
    assert "none.toml" in capsys.readouterr().err


def test_a_fault_of_ours_is_1_and_asks_for_a_report(
    centre: Centre, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: object) -> int:
        return 1 // 0

    monkeypatch.setattr("fedagent.cli.aggregator_study.study_digest", broken)
    assert centre.run("study", "check", str(centre.study)) == 1
    assert "this is a fault of fedaggregator; please report it" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_what_an_error_quotes_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bo\x1b[2Kgus\n"]) == 64
    told = capsys.readouterr().err
    assert "\x1b" not in told
    assert told.count("\n") == 1


def test_a_reader_that_had_enough_is_no_error(centre: Centre, monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        @override
        def fileno(self) -> int:
            return devnull.fileno()

        @override
        def flush(self) -> None:
            raise BrokenPipeError

    with Path("/dev/null").open("w") as devnull:
        monkeypatch.setattr(sys, "stdout", Closed())
        assert centre.run("study", "check", str(centre.study)) == 0
