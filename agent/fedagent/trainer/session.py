# SPDX-License-Identifier: Apache-2.0
"""One connection's life: frames of the daemon and of the worker, the worker's death, and what follows from each.

Rule: at most one job and one worker. A crash, a lack of memory, a step without end or a result that is not finite is
tried once more, from the checkpoint; a worker that was killed from outside (the daemon, the kernel) is no crash: the supervisor ends, and the daemon decides.
"""

import contextlib
import logging
import os
import select
import signal
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, assert_never

import msgspec

from fedagent import VERSION
from fedagent.channel import FrameChannel, close_all
from fedagent.conditions import trainer as say
from fedagent.conditions.condition import Condition, Said
from fedagent.conditions.table import TABLE
from fedagent.errors import NoSpaceError, TrainerError, WireError
from fedagent.journal import tell
from fedagent.storage.failpoints import Failpoint, reach
from fedagent.trainer.gate import GateTerms, pass_loss, pass_result
from fedagent.trainer.groups import WorkGroup, own_cgroup
from fedagent.trainer.jobs import JobCheck, PreparedJob
from fedagent.trainer.lifeline import EndError, Lifeline
from fedagent.trainer.process import WorkerProcess
from fedagent.trainer.refusal import RefusedError
from fedagent.trainer.rounds import RoundLedger
from fedagent.trainer.watch import LOOK_S, KernelKills, Watch
from fedagent.wire import frames
from fedagent.wire.messages import Reason
from fedagent.wire.values import TEXT_CHARACTERS

ATTEMPTS: Final = 2

_CHANCE: Final = (Reason.CRASHED, Reason.OUT_OF_MEMORY, Reason.STUCK, Reason.NOT_FINITE)
"""What another try may change."""

_DEATH_MS: Final = 1000
"""A worker that closed its channel gets so long to end by itself."""

_log: Final = logging.getLogger(__name__)


class WorkerStart(msgspec.Struct, frozen=True):
    """How a worker is started; see ``WorkerProcess``."""

    command: tuple[str, ...]
    home: Path
    threads: int
    group: WorkGroup | None
    lock: int

    def start(self) -> WorkerProcess:
        """A new worker, waiting for its job."""
        return WorkerProcess(
            self.command, home=self.home, threads=self.threads, group=self.group, lock=self.lock
        )


class Session:
    """The supervisor between a daemon and a worker."""

    def __init__(
        self,
        channel: FrameChannel,
        lifeline: Lifeline,
        start: WorkerStart,
        check: JobCheck,
        rounds: RoundLedger,
        watch: Watch,
    ) -> None:
        """Starts the worker; ``close`` ends it."""
        self._channel, self._lifeline, self._start, self._check, self._rounds = (
            channel,
            lifeline,
            start,
            check,
            rounds,
        )
        self._poll = select.poll()
        for descriptor in (channel.fileno(), lifeline.signals):
            self._poll.register(descriptor, select.POLLIN)
        self._job: PreparedJob | None = None
        self._attempts = 0
        self._idle_deaths = 0
        self._step = 0
        self._checkpoint_asked = False
        self._vacating = False
        unit = own_cgroup(Path("/proc/self")) if start.group is None else start.group.unit
        self._watch, self._kills = watch, KernelKills(unit)
        self._worker = self._new_worker()

    def serve(self) -> None:
        """Says that the trainer is ready, then does what frames ask for; does not return.

        Raises:
            EndError: the daemon is gone or wants no more, or the worker was killed from outside.
            TrainerError: a peer broke the protocol, or the worker does not start.
            StorageError: the trainer's state cannot be written.
        """
        self._tell_ready()
        while True:
            wait_ms = None if self._job is None else LOOK_S * 1000
            ready = {descriptor for descriptor, _ in self._poll.poll(wait_ms)}
            if self._lifeline.signals in ready:
                raise EndError(say.TOLD_TO_END())
            if self._channel.fileno() in ready:
                self._read_daemon()
            elif self._worker.channel.fileno() in ready:
                self._read_worker()
            elif self._worker.pidfd in ready:
                self._worker_ended()
            if self._job is not None:
                self._look(self._job)

    def close(self) -> None:
        """The worker is killed, frozen or not, and the job's descriptors are closed."""
        self._worker.kill()
        if self._job is not None:
            self._job.close()
        self._worker.end()

    # --- the daemon -------------------------------------------------------------------------------------------

    def _tell_ready(self) -> None:
        group = self._start.group
        files = [] if group is None else group.open_files()
        ready = frames.Ready(
            version=VERSION,
            control="process-group" if group is None else "cgroup",
            supervisor_pid=os.getpid(),
            worker_pid=self._worker.pid,
            trainer_key=self._check.trainer_key,
            snapshots=self._check.snapshots(),
        )
        self._tell(ready, [self._worker.pidfd, *files])
        close_all(files)

    def _tell(self, frame: frames.SupervisorFrame, descriptors: Sequence[int] = ()) -> None:
        with contextlib.suppress(ConnectionError):  # its end is read after what it still had to say
            self._channel.send(frame, descriptors)

    def _read_daemon(self) -> None:
        try:
            received = self._channel.receive(frames.DaemonFrame)
        except WireError as error:
            raise TrainerError(say.DAEMON_BROKE_PROTOCOL(reason=error)) from error
        if received is None:
            raise EndError(say.DAEMON_GONE())
        frame: frames.DaemonFrame = received[0]
        try:
            match frame:
                case frames.Job():
                    self._job_came(frame, received[1])
                case frames.CheckpointNow():
                    self._checkpoint_now(frame)
                case frames.JobStop():
                    self._job_stop(frame)
                case _:
                    assert_never(frame)
        finally:
            close_all(received[1])

    def _job_came(self, frame: frames.Job, descriptors: list[int]) -> None:
        if self._job is not None:
            self._stop_worker()
            self._drop_job(say.JOB_REPLACED)
        try:
            job = self._check.prepare(frame, descriptors, now=datetime.now(UTC), pulse=self._lifeline.check)
        except RefusedError as refusal:
            tell(_log, say.JOB_REFUSED(study=frame.study, reason=refusal), study=frame.study)
            number = refusal.round or 1  # where no announcement is proven, no round is known
            text, code = str(refusal)[:TEXT_CHARACTERS], refusal.said.code
            refused = frames.JobRefused(
                study=frame.study, round=number, reason=refusal.reason, text=text, code=code
            )
            self._tell(refused)
            return
        self._log_job(job, say.JOB_ACCEPTED)
        self._job, self._attempts, self._step, self._vacating = job, 0, 0, False
        self._hand_over(job)

    def _checkpoint_now(self, frame: frames.CheckpointNow) -> None:
        self._checkpoint_asked = True
        if self._job is None:
            self._checkpoint_done(0)
            return
        with contextlib.suppress(
            OSError
        ):  # full: it was asked already; broken: its death is about to be read
            self._worker.channel.send(frame)

    def _checkpoint_done(self, step: int) -> None:
        if self._checkpoint_asked:
            self._checkpoint_asked, self._vacating = False, True
            self._tell(frames.CheckpointDone(step=step))

    def _job_stop(self, frame: frames.JobStop) -> None:
        running = self._job is not None and self._job.announcement.study.name == frame.study
        if running:
            self._stop_worker()
        if (
            frame.erase
        ):  # before anything is said to a daemon that may be gone, after the worker can write no more
            self._check.erase(frame.study)
            tell(_log, say.STUDY_ERASED(study=frame.study), study=frame.study)
        if running:
            self._drop_job(say.JOB_STOPPED)

    # --- the worker -------------------------------------------------------------------------------------------

    def _new_worker(self) -> WorkerProcess:
        self._kills_before = self._kills.count()
        worker = self._start.start()
        for descriptor in (worker.channel.fileno(), worker.pidfd):
            self._poll.register(descriptor, select.POLLIN)
        return worker

    def _end_worker(self) -> int:
        """Its exit code; it is dead or about to be."""
        for descriptor in (self._worker.channel.fileno(), self._worker.pidfd):
            self._poll.unregister(descriptor)
        return self._worker.end()

    def _stop_worker(self) -> None:
        """It is dead, by our hand."""
        self._worker.kill()
        self._end_worker()

    def _replace_worker(self) -> None:
        """Another worker; the daemon gets its new brake."""
        self._worker = self._new_worker()
        self._tell_ready()

    def _hand_over(self, job: PreparedJob) -> None:
        self._watch.begin(time.monotonic())
        with contextlib.suppress(OSError):  # its death is about to be read, and counts as a crash of this job
            self._worker.channel.send(job.frame, job.descriptors)

    def _read_worker(self) -> None:
        try:
            received = self._worker.channel.receive(frames.WorkerFrame)
        except WireError as error:
            tell(_log, say.WORKER_BROKE_PROTOCOL(reason=error))
            self._worker.kill()
            received = None
        if received is None:
            self._worker_ended()
            return
        frame: frames.WorkerFrame = received[0]
        try:
            if self._job is not None:
                self._worker_said(self._job, frame, received[1])
        finally:
            close_all(received[1])

    def _worker_said(self, job: PreparedJob, frame: frames.WorkerFrame, descriptors: list[int]) -> None:
        match frame:
            case frames.WorkerProgress():
                self._step = frame.step
                self._watch.moved(frame.step)
                self._tell(_progress(job, frame))
            case frames.WorkerCheckpointed():
                self._checkpoint_done(frame.step)
            case frames.WorkerFailed():
                self._job_failed(job, frame.reason, _heard(frame))
            case frames.WorkerDone():
                self._worker_done(job, frame, descriptors)
            case _:
                assert_never(frame)

    def _worker_done(self, job: PreparedJob, frame: frames.WorkerDone, descriptors: list[int]) -> None:
        announcement = job.announcement
        terms = GateTerms(announcement, job.frame.site, job.snapshot)
        try:
            against = self._check.objection(announcement)
            if against is not None:
                raise RefusedError(Reason.REVOKED, against)
            sealed, update = pass_result(frame, descriptors, terms, pulse=self._lifeline.check)
        except RefusedError as refusal:
            self._job_failed(job, refusal.reason, refusal.said)
            return
        try:
            self._rounds.seal(announcement)
            reach(Failpoint.UPDATE_SEALED)
            self._tell(sealed, update)
        except NoSpaceError as error:
            self._give_up(job, Reason.NO_SPACE, error.said)
            return
        finally:
            close_all(update)
        self._log_job(job, say.JOB_SEALED, rows=sealed.rows)
        self._job_over()

    def _worker_ended(self) -> None:
        """It died, or closed its channel and so is of no more use."""
        death = select.poll()
        death.register(self._worker.pidfd, select.POLLIN)
        if not death.poll(_DEATH_MS):
            self._worker.kill()
        ours = self._worker.condemned
        code = self._end_worker()
        foreign = code == -signal.SIGKILL and not ours
        starved = foreign and self._kills.count() > self._kills_before
        if self._vacating or (foreign and not starved):
            raise EndError(say.WORKER_KILLED())
        reason, said = Reason.CRASHED, say.WORKER_EXITED(status=code)
        if starved:
            reason, said = Reason.OUT_OF_MEMORY, say.KILLED_FOR_MEMORY()
        elif code < 0:
            said = say.WORKER_CRASHED(signal=-code)
        if self._job is None:
            self._idle_death(said)
        self._replace_worker()
        if self._job is not None:
            self._try_again(self._job, reason, said)

    def _idle_death(self, said: Said) -> None:
        tell(_log, said)
        self._idle_deaths += 1
        if self._idle_deaths >= ATTEMPTS:
            raise TrainerError(say.IDLE_WORKER_CRASHES(attempts=ATTEMPTS, reason=said))

    def _look(self, job: PreparedJob) -> None:
        """A worker that moves no more is killed, and counts as one that failed."""
        wrong = self._watch.look(time.monotonic(), paused=self._worker.paused())
        if wrong is not None:
            self._job_failed(job, Reason.STUCK, wrong)

    # --- the job ----------------------------------------------------------------------------------------------

    def _job_failed(self, job: PreparedJob, reason: Reason, said: Said) -> None:
        """The worker's own verdict or the gate's; what may be chance is tried again by a fresh worker."""
        if reason not in (*_CHANCE, Reason.NO_SPACE):
            self._give_up(job, reason, said)
            return
        self._stop_worker()
        self._replace_worker()
        if reason is Reason.NO_SPACE:  # the daemon gives it again when there may be room
            self._give_up(job, reason, said)
        else:
            self._try_again(job, reason, said)

    def _try_again(self, job: PreparedJob, reason: Reason, said: Said) -> None:
        self._attempts += 1
        if self._attempts >= ATTEMPTS:
            again = say.TRIED_AGAIN(attempts=ATTEMPTS, reason=said)
            self._give_up(job, reason, msgspec.structs.replace(again, code=said.code))
            return
        self._log_job(job, say.JOB_FAILED_ONCE, reason=said)
        self._hand_over(job)

    def _give_up(self, job: PreparedJob, reason: Reason, said: Said) -> None:
        self._log_job(job, say.JOB_FAILED, reason=said)
        study, number = job.announcement.study.name, job.announcement.round
        text = said.text[:TEXT_CHARACTERS]
        self._tell(frames.JobFailed(study=study, round=number, reason=reason, text=text, code=said.code))
        self._job_over()

    def _drop_job(self, why: Condition) -> None:
        """Another worker waits for the next job, the one before having been stopped."""
        if self._job is not None:
            self._log_job(self._job, why)
        self._job_over()
        self._replace_worker()

    def _log_job(self, job: PreparedJob, condition: Condition, **values: object) -> None:
        study, number = job.announcement.study.name, job.announcement.round
        tell(_log, condition(study=study, round=number, **values), study=study, round=number)

    def _job_over(self) -> None:
        if self._job is not None:
            self._job.close()
        self._job, self._idle_deaths = None, 0
        self._checkpoint_done(self._step)


def _heard(frame: frames.WorkerFailed) -> Said:
    """What a worker says, which is not believed to be a condition before the table has it."""
    return Said(frame.code, frame.text) if frame.code in TABLE else say.WORKER_FAILED(reason=frame.text)


def _progress(job: PreparedJob, frame: frames.WorkerProgress) -> frames.JobProgress:
    study = job.announcement.study
    return frames.JobProgress(
        study=study.name,
        round=job.announcement.round,
        step=frame.step,
        steps=frame.steps,
        checkpoint_step=frame.checkpoint_step,
        loss=pass_loss(study, frame.loss),
    )
