# SPDX-License-Identifier: Apache-2.0
"""The jobs that make models: one a study at a time, and again later what found no room on the disk.

Rule: a job counts as under way until its result is stored, so that it is told again, not made again.
"""

from collections.abc import Callable

from fedagent.aggregator import jobs
from fedagent.storage.shortage import Shortage


class Workshop:
    """Which studies' jobs are under way.

    Args:
        start: does the job in a thread and hands its result to ``Conductor.job_done``.
    """

    def __init__(self, start: Callable[[jobs.Job], None], shortage: Shortage) -> None:
        self._start, self.shortage = start, shortage
        self._working: set[str] = set()

    def begin(self, job: jobs.Job) -> None:
        """The study's job is under way."""
        self._working.add(job.study.name)
        self._start(job)

    def may_begin(self, study: str) -> bool:
        """Whether no job of the study is under way, nor waits for room."""
        return study not in self._working and not self.shortage.waits(_model_of(study))

    def found_no_room(self, result: jobs.NoRoom) -> None:
        """It is to be done again, later."""
        self._working.discard(result.study)
        self.shortage.met(_model_of(result.study), result.error)

    def end(self, study: str) -> None:
        """Its result is stored, or no longer wanted."""
        self._working.discard(study)
        self.shortage.over(_model_of(study))

    def wait(self, study: str) -> None:
        """Its result could not be stored, and waits."""
        self._working.add(study)


def _model_of(study: str) -> str:
    return f"model:{study}"
