# SPDX-License-Identifier: Apache-2.0
"""A program, made to be killed: an aggregator with three sites in memory that plays one whole study.

Usage: ``python -m tests.fakes.centre_program CONFIG STUDY``; ends with 0 when the study has ended. The sites begin anew
with each start, as hospitals would that lost everything.
"""

import asyncio
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from fedagent.aggregator import studies
from fedagent.aggregator.app import Aggregator, Stop
from fedagent.aggregator.authority import Authority
from fedagent.aggregator.lock import locked
from fedagent.aggregator.settings import AggregatorSettings, read_aggregator_settings
from fedagent.aggregator.store import Store
from fedagent.aggregator.tables import StudyPhase
from fedagent.security.certificates import Signer, Trust, key_to_pem, make_key, make_request
from fedagent.transport.events import MqttEvent
from fedagent.wire.study import Study
from tests.fakes.site import FakeSite, MemoryLink

PASSWORD = b"secret"
LIMIT_S = 60.0


def sites_of(folder: Path, study: Study) -> list[FakeSite]:
    authority = Authority(folder / "authority")
    authority.open(PASSWORD)
    trust = Trust(authority.certificate_path.read_bytes())
    made = []
    for index, name in enumerate(study.federation.sites):
        key = make_key()
        certificate = authority.sign_request(make_request(key, name), name)
        made.append(FakeSite(Signer(certificate, key_to_pem(key, None)), trust, rows=100 * (index + 1)))
    return made


async def play(settings: AggregatorSettings, study: Study, sites: list[FakeSite]) -> None:
    links: list[MemoryLink] = []

    def make_link(_: AggregatorSettings, on_event: Callable[[MqttEvent], None]) -> MemoryLink:
        links.append(MemoryLink(on_event))
        return links[0]

    aggregator = Aggregator(settings, make_link)
    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as tasks:
        tasks.create_task(aggregator.run())
        links[0].sites += sites
        for site in sites:
            site.link = links[0]
        await links[0].until(lambda: links[0].connected)
        for site in sites:
            site.hello()
        await links[0].until(lambda: aggregator._store.study(study.name).phase is not StudyPhase.RUNNING)
        aggregator._put(Stop())


def main() -> None:
    logging.basicConfig(level=logging.INFO)
    config, study = Path(sys.argv[1]), studies.read_study(Path(sys.argv[2]))
    settings = read_aggregator_settings(config)
    with locked(settings.state):
        store = Store(settings.store)
        if store.find_study(study.name) is None:
            studies.create(store, study, 0.0)
        if store.study(study.name).phase is StudyPhase.CREATED:
            studies.start(store, study.name, 0.0)
        store.close()
        asyncio.run(play(settings, study, sites_of(config.parent, study)))


if __name__ == "__main__":
    main()
