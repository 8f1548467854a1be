# SPDX-License-Identifier: Apache-2.0
"""A real aggregator with sites in memory: whole studies, restarts at any moment, and every fault of a site."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from fedagent.aggregator import control, jobs, metrics, studies
from fedagent.aggregator.models import Models
from fedagent.aggregator.tables import PartPhase, StudyPhase
from fedagent.conditions.aggregator import MODEL_NOT_FINITE
from fedagent.wire import messages as m
from fedagent.wire import study as s
from tests.fakes.study_centre import NAMES, Centre, study


@pytest.fixture
def centre(tmp_path: Path) -> Centre:
    return Centre(tmp_path)


def play(script: Awaitable[None]) -> None:
    async def main() -> None:
        await script

    asyncio.run(main())


def test_a_study_of_three_rounds_is_trained_evaluated_and_ended(centre: Centre) -> None:
    async def script() -> None:
        async with centre.running():
            await centre.begin(study())
            await centre.until_phase(StudyPhase.ENDED)

    play(script())
    assert np.array_equal(centre.final_model(), np.full(40_000, 1.5, dtype="<f4"))
    for site in centre.sites.values():
        assert site.announcement is not None
        assert (site.announcement.round, site.announcement.round_kind) == (5, m.RoundKind.ENDED)
        assert sum(isinstance(message, m.Receipt) for message in site.heard) == 4
    store = centre.store()
    results = store.results("transfer")
    store.close()
    assert [(each.round, each.kind, each.rows) for each in results] == [
        (1, m.RoundKind.TRAIN, 600),
        (2, m.RoundKind.TRAIN, 600),
        (3, m.RoundKind.TRAIN, 600),
        (4, m.RoundKind.EVALUATE, 600),
    ]
    assert {row.site for row in metrics.rows(results)} == {"all", *NAMES}


def test_after_the_end_no_update_and_no_blob_is_left(centre: Centre) -> None:
    async def script() -> None:
        async with centre.running():
            await centre.begin(study(rounds=2))
            await centre.until_phase(StudyPhase.ENDED)

    play(script())
    assert list((centre.settings.state / "updates").iterdir()) == []
    assert list((centre.settings.state / "blobs").iterdir()) == []
    assert len(list(centre.settings.models.iterdir())) == 3


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_updates_are_weighted_by_rows_and_momentum_is_kept(centre: Centre, momentum: float) -> None:
    centre.sites["clinic-a"].values = 4.0
    made = study(rounds=2, aggregation=s.FedAvg(server_momentum=momentum))

    async def script() -> None:
        async with centre.running():
            await centre.begin(made)
            await centre.until_phase(StudyPhase.ENDED)

    play(script())
    mean = (100 * 4.0 + 200 * 0.5 + 300 * 0.5) / 600
    first = np.float32(mean)
    expected = np.float32(np.float64(first) + momentum * mean + mean)
    assert np.array_equal(centre.final_model(), np.full(40_000, expected))


def test_restarts_between_and_within_rounds_lose_nothing(centre: Centre) -> None:
    async def script() -> None:
        centre.sites["clinic-c"].offers = False
        async with centre.running():
            await centre.begin(study(quorum=3))
            await centre.until_part("clinic-b", PartPhase.STORED)
        async with centre.running():
            centre.sites["clinic-c"].sends = False
            centre.sites["clinic-c"].offer_now()
            await centre.until_part("clinic-c", PartPhase.OFFERED)
        centre.sites["clinic-c"].sends = centre.sites["clinic-c"].offers = True
        async with centre.running():
            await centre.until_phase(StudyPhase.ENDED)

    play(script())
    assert np.array_equal(centre.final_model(), np.full(40_000, 1.5, dtype="<f4"))


def test_a_broker_that_lost_everything_costs_one_exchange(centre: Centre) -> None:
    async def script() -> None:
        centre.sites["clinic-a"].offers = False
        async with centre.running():
            await centre.begin(study(quorum=3))
            await centre.until_part("clinic-b", PartPhase.STORED)
            centre.link.cut()
            centre.link.connect()
            await centre.link.until(lambda: bool(centre.link.retained))
            centre.sites["clinic-a"].offers = True
            for site in centre.sites.values():
                site.hello()
            centre.sites["clinic-a"].offer_now()
            await centre.until_phase(StudyPhase.ENDED)

    play(script())


def test_a_site_that_declines_is_not_waited_for(centre: Centre) -> None:
    centre.sites["clinic-b"].decline = m.Reason.NO_DATASET

    async def script() -> None:
        async with centre.running():
            await centre.begin(study(rounds=1))
            await centre.until_phase(StudyPhase.ENDED)

    play(script())


def test_at_the_deadline_the_quorum_closes_the_round_and_the_late_update_is_refused(centre: Centre) -> None:
    late = centre.sites["clinic-c"]
    late.offers = False

    async def script() -> None:
        async with centre.running():
            await centre.begin(study(rounds=1, deadline_s=1.5))
            await centre.until_part("clinic-c", PartPhase.LATE)
            assert late.announcement is not None

    play(script())
    assert late.announcement is not None
    assert late.announcement.round >= 2


def test_below_quorum_the_deadline_is_extended_and_announced_with_its_reason(centre: Centre) -> None:
    for name in NAMES[1:]:
        centre.sites[name].offers = False

    async def script() -> None:
        async with centre.running():
            await centre.begin(study(rounds=1, deadline_s=0.5))
            store = centre.store()
            try:
                await centre.link.until(
                    lambda: (found := store.current_round("transfer")) is not None and found.extensions > 0
                )
                found = store.current_round("transfer")
            finally:
                store.close()
            assert found is not None
            assert "1 of 2 needed updates" in str(found.reason)
            for name in NAMES[1:]:
                centre.sites[name].offers = True
                centre.sites[name].offer_now()
            await centre.until_phase(StudyPhase.ENDED)

    play(script())


def test_an_update_that_cannot_be_read_is_refused_and_hurts_nobody_else(centre: Centre) -> None:
    centre.sites["clinic-b"].spoils = True

    async def script() -> None:
        async with centre.running():
            await centre.begin(study(rounds=1))
            await centre.until_phase(StudyPhase.ENDED)

    play(script())
    assert np.array_equal(centre.final_model(), np.full(40_000, 0.5, dtype="<f4"))
    refusals = [each for each in centre.sites["clinic-b"].heard if isinstance(each, m.Refusal)]
    assert refusals[0].reason is m.Reason.UNREADABLE


def test_an_update_with_nan_is_refused_and_hurts_nobody_else(centre: Centre) -> None:
    centre.sites["clinic-b"].values = float("nan")

    async def script() -> None:
        async with centre.running():
            await centre.begin(study(rounds=1))
            await centre.until_phase(StudyPhase.ENDED)

    play(script())
    assert np.array_equal(centre.final_model(), np.full(40_000, 0.5, dtype="<f4"))
    refusals = [each for each in centre.sites["clinic-b"].heard if isinstance(each, m.Refusal)]
    assert refusals[0].reason is m.Reason.NOT_FINITE


def test_a_model_that_overflows_fails_the_study_with_its_reason(centre: Centre) -> None:
    for site in centre.sites.values():
        site.values = 3e38

    async def script() -> None:
        async with centre.running():
            await centre.begin(study(aggregation=s.FedAvg(server_learning_rate=10.0)))
            await centre.until_phase(StudyPhase.FAILED)

    play(script())
    store = centre.store()
    reason = store.study("transfer").reason
    assert reason is not None
    assert (reason.code, "learning rate" in reason.text) == (MODEL_NOT_FINITE.code, True)
    store.close()
    announcement = centre.sites["clinic-a"].announcement
    assert announcement is not None
    assert announcement.round_kind is m.RoundKind.ENDED


def test_a_stopped_study_tells_its_sites(centre: Centre) -> None:
    for site in centre.sites.values():
        site.offers = False

    async def script() -> None:
        async with centre.running():
            await centre.begin(study())
            await centre.until_part("clinic-a", PartPhase.JOINED)
            await centre.ask(control.StopStudy(name="transfer", text="ethics vote withdrawn"))

    play(script())
    cancels = [each for each in centre.sites["clinic-a"].heard if isinstance(each, m.Cancel)]
    assert [each.text for each in cancels] == ["ethics vote withdrawn"]


def test_a_study_that_is_stopped_while_it_folds_harms_no_other(
    centre: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, perform = threading.Event(), threading.Event(), jobs.perform

    def late(job: jobs.Job, models: Models, stopped: Callable[[], bool]) -> jobs.JobResult:
        if isinstance(job, jobs.FoldRound):
            begun.set()
            assert go_on.wait(10.0)
        return perform(job, models, stopped)

    monkeypatch.setattr("fedagent.aggregator.jobs.perform", late)

    async def script() -> None:
        async with centre.running():
            await centre.begin(study())
            assert await asyncio.to_thread(begun.wait, 10.0)
            await centre.ask(control.StopStudy(name="transfer", text="ethics vote withdrawn"))
            go_on.set()
            await centre.begin(msgspec.structs.replace(study(rounds=1), name="second"))
            store = centre.store()
            await centre.link.until(lambda: store.study("second").phase is StudyPhase.ENDED)
            store.close()

    play(script())


def test_a_study_created_and_started_while_the_aggregator_is_down_runs_when_it_comes(centre: Centre) -> None:
    centre.settings.state.mkdir(mode=0o700)
    store = centre.store()
    studies.create(store, study(rounds=1), 0.0)
    studies.start(store, "transfer", 0.0)
    store.close()

    async def script() -> None:
        async with centre.running():
            await centre.until_phase(StudyPhase.ENDED)

    play(script())


def test_training_ends_early_when_the_metric_no_longer_improves(centre: Centre) -> None:
    made = msgspec.structs.replace(
        study(rounds=50), federation=study(rounds=50, early_stopping=s.EarlyStopping(patience=2)).federation
    )

    async def script() -> None:
        async with centre.running():
            await centre.begin(made)
            await centre.until_phase(StudyPhase.ENDED)

    play(script())
    store = centre.store()
    results = store.results("transfer")
    store.close()
    assert [each.kind for each in results] == [m.RoundKind.TRAIN] * 3 + [m.RoundKind.EVALUATE]


def test_malformed_foreign_and_repeated_messages_change_nothing(
    centre: Centre, caplog: pytest.LogCaptureFixture
) -> None:
    site, stranger = centre.sites["clinic-a"], centre.site("stranger")

    async def script() -> None:
        site.offers = False
        async with centre.running():
            await centre.begin(study(rounds=1, quorum=3))
            await centre.until_part("clinic-a", PartPhase.JOINED)
            stranger.link = centre.link
            centre.link.sites.append(stranger)
            site.send("fedagent/v1/up/clinic-a/transfer/join", b"\x00 nonsense")
            site.send("fedagent/v1/up/clinic-a/transfer/chunk", b"short")
            site.send("fedagent/v1/up/clinic-a/nowhere/else", b"")
            stranger.announcement = site.announcement
            stranger.join()
            payload = site.say(m.Decline(study="transfer", round=1, reason=m.Reason.CRASHED))
            site.join()
            site.send("fedagent/v1/up/clinic-a/transfer/decline", payload)
            await centre.link.until(lambda: any(isinstance(each, m.Refusal) for each in stranger.heard))
            site.offers = True
            site.offer_now()
            await centre.until_phase(StudyPhase.ENDED)

    play(script())
    assert sum("refused a message" in record.message for record in caplog.records) == 2
    refusal = next(each for each in stranger.heard if isinstance(each, m.Refusal))
    assert refusal.reason is m.Reason.NOT_A_MEMBER
