# SPDX-License-Identifier: Apache-2.0
"""Where a site's messages are read: each is checked, happens to its round, and is answered.

Rule: what is malformed or not lawful is logged in one line and changes nothing; what took effect is remembered in the
same transaction, so a repeat is recognised after any restart.
"""

import logging
from datetime import UTC, datetime
from sqlite3 import Connection
from typing import assert_never

from fedagent.aggregator import records, roster
from fedagent.aggregator import round_events as on
from fedagent.aggregator.conductor import Conductor
from fedagent.aggregator.intake import Intake
from fedagent.aggregator.offers import OfferError, read_offer
from fedagent.aggregator.post import Post
from fedagent.aggregator.rounds import ACTIVE, Round, part_of
from fedagent.aggregator.store import Store, StudyRecord, running
from fedagent.aggregator.tables import PartPhase, StudyPhase
from fedagent.aggregator.twins import hear
from fedagent.conditions.aggregator import NOT_NAMED, OTHER_VERSION_APPROVED, ROUND_NOT_KNOWN, TWINS
from fedagent.conditions.messages import MESSAGE_REFUSED, NO_SUCH_CHUNKS, NOT_FROM_A_SITE
from fedagent.core.facts import Instant
from fedagent.core.round import Phase
from fedagent.errors import NoSpaceError, WireError
from fedagent.journal import tell
from fedagent.security.mail import Mail
from fedagent.security.sealing import seal
from fedagent.transport.events import Arrived
from fedagent.transport.shared import SharedPublisher
from fedagent.wire import messages as m
from fedagent.wire.manifest import blob_digest
from fedagent.wire.study import study_digest
from fedagent.wire.topics import Address, Role, parse

log = logging.getLogger(__name__)


class Desk:
    """Takes what arrives on ``up/#``."""

    def __init__(
        self,
        store: Store,
        post: Post,
        conductor: Conductor,
        *,
        intake: Intake,
        publisher: SharedPublisher,
        private_key: bytes,
    ) -> None:
        """Changes nothing yet.

        Args:
            private_key: X25519; updates are sealed to it.
        """
        self._store, self._post, self._conductor = store, post, conductor
        self._intake, self._publisher, self._private_key = intake, publisher, private_key

    def take(self, event: Arrived, now: Instant) -> None:
        """The message took effect, was a repeat, or was refused with one line in the log.

        Raises:
            NoSpaceError: what follows from it cannot be stored; it is to be taken again.
        """
        address: Address | None = None
        try:
            address = parse(event.topic)
            if address.kind == "chunk" and address.site and address.study:
                self._chunk(address.site, address.study, event.payload, now)
                return
            mail = self._post.mailbox.open(event.topic, event.payload, datetime.fromtimestamp(now.wall, UTC))
            if mail is not None and mail.sender.role is Role.SITE:
                self._take_in(mail, now)
        except WireError as error:
            tell(log, MESSAGE_REFUSED(topic=event.topic, reason=error), topic=event.topic)
            if address is not None and address.role is Role.SITE and address.kind != "chunk":
                self._note_refused(address, error, now)

    def _note_refused(self, address: Address, error: WireError, now: Instant) -> None:
        with self._store.database.transaction() as connection:
            roster.note_refused(connection, address.sender, error.said, now.wall)

    def _take_in(self, mail: Mail, now: Instant) -> None:
        try:
            self._read(mail, now)
        except NoSpaceError:
            self._post.mailbox.forget(mail)
            raise

    def _read(self, mail: Mail, now: Instant) -> None:
        match mail.message:
            case m.Presence() as presence:
                with self._store.database.transaction() as connection:
                    self._post.mailbox.remember(connection, mail)
                    roster.note_presence(connection, mail.sender.name, presence, now.wall)
                if not presence.online:
                    self._publisher.gone(mail.sender.name)
            case m.Instance(instance=instance):
                self._instance(mail, instance, now)
            case m.SiteHello() as hello:
                self._hello(mail, hello, now)
            case m.Want() as want:
                self._want(mail.sender.name, want, now)
            case m.Join() | m.UpdateOffer() | m.Progress() | m.Decline() as message:
                self._about_round(mail, message, now)
            case _:
                raise WireError(NOT_FROM_A_SITE(kind=type(mail.message).__name__))

    def _instance(self, mail: Mail, instance: bytes, now: Instant) -> None:
        """Every instance that has to stop hears so each time that it speaks, and the one that stays with it."""
        site = mail.sender.name
        with self._store.database.transaction() as connection:
            self._post.mailbox.remember(connection, mail)
            twins = hear(connection, site, instance)
            if twins:
                roster.note_refused(connection, site, TWINS(site=site), now.wall)
        for twin in twins:
            tell(log, TWINS(site=site), site=site)
            self._post.send(m.Twin(instance=twin), site)

    def _hello(self, mail: Mail, hello: m.SiteHello, now: Instant) -> None:
        """The site is (again) there: it hears of its studies, and what it may have missed."""
        site = mail.sender.name
        with self._store.database.transaction() as connection:
            self._post.mailbox.remember(connection, mail)
            roster.greeted(connection, site, hello.version, now.wall)
            for each in hello.positions:
                if each.phase != Phase.TRAINING.value:  # of which Progress says more
                    self._store.note_progress(connection, each.study, each.round, site, each.phase)
            for key in self._known_verdicts(site, hello.positions):
                self._post.outbox.remove(connection, key)
        self._conductor.hello(site)
        self._post.repeat(site)
        for position in hello.positions:
            self._answer(site, position, now)
        known = {position.study for position in hello.positions}
        for record in running(self._store.studies()):
            if site in record.study.federation.sites and record.study.name not in known:
                self._conductor.announce(record)  # the retained one may have been lost with the broker

    def _known_verdicts(self, site: str, positions: tuple[m.StudyPosition, ...]) -> list[str]:
        """Outbox keys of what the site's hello shows that it knows."""
        at = {position.study: position for position in positions}
        known = []
        for key, letter, addressee in self._post.outbox.messages():
            if addressee != site or not isinstance(letter, m.Receipt | m.Refusal | m.Cancel):
                continue
            position = at.get(letter.study)
            received = isinstance(letter, m.Receipt) and position is not None and position.update is None
            if position is None or position.round > letter.round or received:
                known.append(key)
        return known

    def _answer(self, site: str, position: m.StudyPosition, now: Instant) -> None:
        record = self._store.find_study(position.study)
        newest = self._store.current_round(position.study)
        if record is None or newest is None or site not in record.study.federation.sites:
            return
        announced = newest.number + (record.phase is not StudyPhase.RUNNING)
        if position.round != announced:
            self._conductor.announce(record)
        round_ = self._store.round(position.study, position.round)
        part = part_of(round_, site) if round_ else None
        if round_ is None or part is None:
            return
        is_open = round_.phase in ACTIVE
        if position.update is not None and (not is_open or part.blob == position.update):
            self._conductor.apply(round_, on.Offered(site, position.update), now)
        elif is_open and part.phase is PartPhase.JOINED:
            self._conductor.send_key(round_, site)

    def _want(self, site: str, want: m.Want, now: Instant) -> None:
        record = self._store.find_study(want.study)
        model = self._store.newest_model(want.study)
        if record is None or site not in record.study.federation.sites:
            raise WireError(NOT_NAMED(study=want.study, site=site), "$.study")
        if model is None or record.phase is not StudyPhase.RUNNING or model.reference.blob != want.blob:
            return  # of a round that is over: the site hears of the next one
        if any(index >= len(model.manifest.chunks) for index in want.chunks):
            raise WireError(NO_SUCH_CHUNKS(), "$.chunks")
        self._publisher.want(site, want.blob, want.chunks, now.monotonic)

    def _about_round(
        self, mail: Mail, message: m.Join | m.UpdateOffer | m.Progress | m.Decline, now: Instant
    ) -> None:
        site = mail.sender.name
        record = self._store.find_study(message.study)
        round_ = self._store.round(message.study, message.round)
        if record is None or round_ is None:
            said = ROUND_NOT_KNOWN(site=site, study=message.study, round=message.round)
            tell(log, said, study=message.study, round=message.round, site=site)
            if record is not None:
                self._conductor.announce(record)
            return
        match message:
            case m.Join():
                self._join(record, round_, mail, message, now)
            case m.UpdateOffer():
                self._offer(record, round_, mail, message, now)
            case m.Decline(reason=reason, text=text):
                records.site_declines(round_, site, message)
                self._happen(round_, on.Declined(site, reason, text), mail, now)
            case m.Progress():
                text = f"{message.phase} {message.step}/{message.steps}" if message.steps else message.phase
                with self._store.database.transaction() as connection:
                    self._store.note_progress(connection, round_.study, round_.number, site, text)
                    roster.heard(connection, site, now.wall)
            case _:
                assert_never(message)

    def _join(self, record: StudyRecord, round_: Round, mail: Mail, join: m.Join, now: Instant) -> None:
        site = mail.sender.name
        if part_of(round_, site) and join.study_digest != study_digest(record.study):
            text = OTHER_VERSION_APPROVED(site=site, study=round_.study).text
            refusal = m.Refusal(
                study=round_.study, round=round_.number, reason=m.Reason.OTHER_STUDY, text=text
            )
            records.site_told(round_, site, refusal)
            self._post.send(refusal, site)
            return
        seal(join.trainer_key, b"", context=b"")  # a key that is none is refused before it is stored
        self._happen(round_, on.Joined(site, join.trainer_key), mail, now)
        if round_.phase not in ACTIVE:
            self._conductor.announce(record)

    def _offer(
        self, record: StudyRecord, round_: Round, mail: Mail, offer: m.UpdateOffer, now: Instant
    ) -> None:
        site, blob = mail.sender.name, blob_digest(offer.manifest)
        part = part_of(round_, site)
        if part is None or round_.phase not in ACTIVE or part.phase in (PartPhase.STORED, PartPhase.REFUSED):
            self._happen(round_, on.Offered(site, blob), mail, now)
            return
        try:
            upload, result = read_offer(record.study, round_, site, offer, self._private_key)
        except OfferError as error:
            records.update_unusable(round_, site, error.said)
            self._happen(round_, on.Rejected(site, error.reason, str(error)), mail, now)
            return

        def save(connection: Connection) -> None:
            self._remember(connection, mail, now)
            self._store.save_upload(connection, round_.study, round_.number, upload, result)

        self._conductor.apply(round_, on.Offered(site, blob), now, save)

    def _happen(self, round_: Round, event: on.Event, mail: Mail, now: Instant) -> None:
        self._conductor.apply(round_, event, now, lambda connection: self._remember(connection, mail, now))

    def _remember(self, connection: Connection, mail: Mail, now: Instant) -> None:
        self._post.mailbox.remember(connection, mail)
        roster.heard(connection, mail.sender.name, now.wall)

    def _chunk(self, site: str, study: str, payload: bytes, now: Instant) -> None:
        """A piece of an update; the last one completes it."""
        done = self._intake.chunk(site, study, payload, now.monotonic)
        if done is None:
            return
        round_ = self._store.round(study, done.round)
        part = part_of(round_, site) if round_ else None
        if round_ is None or part is None or part.phase is not PartPhase.OFFERED or part.blob != done.blob:
            self._intake.forget(site, study, done.blob)
            return
        self._conductor.apply(round_, on.Stored(site, done.blob), now)
