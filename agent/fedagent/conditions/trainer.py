# SPDX-License-Identifier: Apache-2.0
"""FA5: the trainer: supervisor, worker, gate and tasks."""

from functools import partial
from typing import Final

from fedagent.conditions.condition import Condition, Severity

_told = partial(Condition, severity=Severity.INFO)
_warned = partial(Condition, severity=Severity.WARNING)

TRAINER_ENDED: Final = _warned(
    "FA5001",
    "The trainer ended",
    "the trainer ended",
    "see journalctl -u fedagent-trainer",
)
TRAINER_DIED: Final = _warned(
    "FA5002",
    "The trainer died again and again during one job",
    "the trainer died {deaths} times during one job ({reason})",
    "tell the study's contact",
)
NO_TRAINER: Final = _warned(
    "FA5003",
    "The trainer does not come up",
    "no trainer came within {limit_s:g} s",
    "see journalctl -u fedagent-trainer",
)
TRAINER_EXITED: Final = _warned(
    "FA5101",
    "The trainer ended by itself",
    "the trainer ended: exit status {status}",
    "read its last lines in this log",
)
TRAINER_KILLED: Final = _warned(
    "FA5102",
    "The trainer was killed",
    "the trainer ended: killed by {signal}",
    "see in the kernel's log (journalctl -k) whether memory ran out",
)
TRAINER_NOT_STARTED: Final = Condition(
    "FA5103",
    "The trainer cannot be started",
    "no trainer could be started: {reason}",
    "free memory, or raise this user's limit of processes and open files",
)
NO_TRAINER_SOCKET: Final = Condition(
    "FA5104",
    "The trainer's service is not there",
    "no trainer could be started: {path}: {reason}",
    "systemctl start fedagent-trainer.socket",
)
CANNOT_PAUSE_SERVICE: Final = Condition(
    "FA5105",
    "The trainer's service cannot be paused",
    "the trainer cannot be paused: its service has no cgroup v2 of its own",
    "set Delegate=yes in fedagent-trainer@.service, and mount cgroup v2",
)
CANNOT_PAUSE: Final = _warned(
    "FA5106",
    "The trainer cannot be paused, so it is ended",
    "the trainer cannot be paused: {reason}",
    "see journalctl -u fedagent-trainer",
)
TRAINER_BROKE_PROTOCOL: Final = _warned(
    "FA5107",
    "The trainer sent what no frame is",
    "the trainer broke its protocol: {reason}",
    "restart fedagent and fedagent-trainer, so that both are of one version",
)
TRAINER_UNREACHABLE: Final = _warned(
    "FA5108",
    "The connection to the trainer failed",
    "the trainer cannot be reached: {reason}",
    "see journalctl -u fedagent-trainer",
)
LOADING_TOO_LONG: Final = Condition(
    "FA5301",
    "A job's first step is not begun in time",
    "the first step was not begun in {limit_s:g} s",
    "raise trainer.load_limit_s if the data need longer, else tell the study's contact",
    severity=Severity.WARNING,
)
STEP_TOO_LONG: Final = Condition(
    "FA5302",
    "A step of a job does not end in time",
    "step {step} did not end in {limit_s:g} s",
    "raise trainer.step_limit_s if this machine needs longer, else tell the study's contact",
    severity=Severity.WARNING,
)
KILLED_FOR_MEMORY: Final = Condition(
    "FA5303",
    "The kernel killed a worker because no memory was left",
    "the kernel killed the worker: no memory was left for it",
    "give fedagent.slice more (MemoryMax), or tell the study's contact",
    severity=Severity.WARNING,
)

# --- the supervisor's life

TOLD_TO_END: Final = _told("FA5304", "The trainer was told to end", "the trainer ends: it was told to")
DAEMON_GONE: Final = _told(
    "FA5305",
    "The daemon closed its connection to the trainer",
    "the trainer ends: the daemon closed the connection",
)
WORKER_KILLED: Final = _told(
    "FA5306", "The worker was killed from outside", "the trainer ends: its worker was killed from outside"
)
DAEMON_BROKE_PROTOCOL: Final = Condition(
    "FA5307",
    "The daemon sent the trainer what no frame is",
    "the daemon broke the trainer's protocol: {reason}",
    "restart fedagent and fedagent-trainer, so that both are of one version",
)
WORKER_BROKE_PROTOCOL: Final = _warned(
    "FA5308",
    "The worker sent the supervisor what no frame is",
    "the worker broke the protocol, and is killed: {reason}",
)
SUPERVISOR_BROKE_PROTOCOL: Final = Condition(
    "FA5309",
    "The supervisor sent a worker what does not belong there",
    "the supervisor sent {frame} during a job",
    "report this fault of fedagent with the journal's last lines",
)
WORKER_DOES_NOT_DIE: Final = Condition(
    "FA5310",
    "A worker that was killed does not die",
    "the worker does not die within {limit_s:g} s",
    "see the kernel's log (journalctl -k): a disk or GPU driver may hang",
)
IDLE_WORKER_CRASHES: Final = Condition(
    "FA5311",
    "The worker does not even wait for a job",
    "{reason} before it had a job, {attempts} times",
    "read its error in the journal above; is the runtime (torch) installed whole?",
)

# --- a worker's end, and the job's

WORKER_EXITED: Final = _warned(
    "FA5312", "A worker ended in the middle", "the worker crashed (exit status {status})"
)
WORKER_CRASHED: Final = _warned(
    "FA5313", "A worker was ended by a signal", "the worker crashed (signal {signal})"
)
WORKER_FAILED: Final = _warned("FA5314", "A worker cannot do its job", "the worker failed: {reason}")
TRAINING_BROKE: Final = _warned(
    "FA5315",
    "The training code failed",
    "the training ended with {kind} at {where}",
    "tell the study's contact",
)
TRAINING_NEEDS_MEMORY: Final = _warned(
    "FA5316",
    "The training got no more memory",
    "the training got no more memory ({kind} at {where})",
    "give fedagent.slice more (MemoryMax), or tell the study's contact",
)
JOB_ACCEPTED: Final = _told("FA5317", "A job passed every check", "study {study}: round {round} accepted")
JOB_REFUSED: Final = _warned("FA5318", "The supervisor refuses a job", "study {study}: job refused: {reason}")
JOB_SEALED: Final = _told(
    "FA5319", "A result passed the gate", "study {study}: round {round} sealed, {rows} rows"
)
JOB_FAILED_ONCE: Final = _warned(
    "FA5320",
    "A job failed and is tried again",
    "study {study}: round {round}: {reason}; once more from the checkpoint",
)
JOB_FAILED: Final = _warned("FA5321", "A job failed", "study {study}: round {round} failed: {reason}")
TRIED_AGAIN: Final = _warned("FA5322", "A job failed at every attempt", "tried {attempts} times: {reason}")
JOB_REPLACED: Final = _told(
    "FA5323", "A job made way for another", "study {study}: round {round} dropped: another job came"
)
JOB_STOPPED: Final = _told(
    "FA5324", "The daemon stopped a job", "study {study}: round {round} dropped: the daemon stopped it"
)
STUDY_ERASED: Final = _told(
    "FA5325", "A study's checkpoints are erased", "study {study}: what the trainer kept of it is erased"
)

# --- what the supervisor refuses

JOB_NOT_PREPARED: Final = Condition(
    "FA5326", "A job cannot be prepared", "study {study}: its job cannot be prepared: {reason}"
)
ANNOUNCEMENT_NOT_PROVEN: Final = _warned(
    "FA5327",
    "An announcement is not proven to be the aggregator's",
    "the announcement proves nothing: {reason}",
)
NOT_AN_ANNOUNCEMENT: Final = _warned(
    "FA5328", "A job came with another message than an announcement", "not an announcement but {kind}"
)
JOB_FOR_ANOTHER_SITE: Final = _warned(
    "FA5329",
    "A job is not for this site",
    "study {study}: the job is for site {other}, and this is {site}",
    "compare site.name with the sites that the study names",
)
HAS_ENDED: Final = _warned("FA5330", "A job's study has ended", "study {study} has ended")
JOB_DESCRIPTORS: Final = _warned(
    "FA5331", "A job came without exactly one model", "a job came with {count} descriptors, not one"
)
MODEL_NOT_OPENED: Final = _warned(
    "FA5332", "The global model cannot be opened", "the model cannot be opened: {reason}"
)
JOB_WITHOUT_MODEL: Final = _warned(
    "FA5333", "A worker's job came without its model", "a job came without its model"
)
ROUND_IS_OLDER: Final = _warned(
    "FA5334",
    "A round is older than one that was trained",
    "study {study}: round {round} is older than round {last}, which was trained here already",
)
SEALED_FROM_ANOTHER: Final = _warned(
    "FA5335",
    "A round was sealed already, from another model",
    "study {study}: round {round} was sealed here already, from another model",
)
DAMAGED_ROUNDS: Final = Condition(
    "FA5336",
    "The trainer's record of rounds cannot be used",
    "cannot use {path}: {reason}",
    "restore it from a backup, or upgrade again",
)
NOT_A_TRAINER_KEY: Final = Condition(
    "FA5337",
    "The trainer's key is damaged",
    "{path} is not a trainer's key",
    "remove it: a new one is made, and the studies' keys are asked for anew",
)
KERNEL_REFUSES: Final = Condition(
    "FA5338",
    "The kernel refuses the trainer's protection",
    "{call} failed: {reason}",
    "run on Linux 5.10 or later, and outside a container that forbids it",
)

# --- what the gate refuses

UPDATES_EXPECTED: Final = _warned(
    "FA5339",
    "A worker handed over too many updates or too few",
    "the worker handed over {count} updates, expected {expected}",
    "tell the study's contact",
)
AGGREGATOR_KEY: Final = _warned(
    "FA5340",
    "The aggregator's key cannot be used",
    "the aggregator's key cannot be used: {reason}",
    "tell the study's contact",
)
UPDATE_NOT_SEALED: Final = _warned(
    "FA5341",
    "A worker could still change its update",
    "the update was not handed over as it must be: {reason}",
    "tell the study's contact",
)
UPDATE_TENSORS: Final = _warned(
    "FA5342",
    "An update does not have the study's tensors",
    "the update of {size} bytes does not have the study's tensors (names, shapes, float32)",
    "tell the study's contact",
)
TOO_FEW_ROWS: Final = _warned(
    "FA5343",
    "Too few patients are usable for training",
    "fewer than {minimum} patients have usable training rows, the study needs {minimum}",
    "see why: sudo fedagent dataset check",
)

# --- what a task finds

OUTPUTS_NOT_FINITE: Final = _warned(
    "FA5344",
    "A model's outputs are not finite",
    "the model's outputs are not finite on this site's rows",
    "a lower learning rate may help: tell the study's contact",
)
LOSS_NOT_FINITE: Final = _warned(
    "FA5345",
    "The training diverged",
    "the loss of step {step} is not finite",
    "a lower learning rate may help: tell the study's contact",
)
TRAINING_NOT_FINITE: Final = _warned(
    "FA5346",
    "An update is not finite",
    "the update is not finite",
    "a lower learning rate may help: tell the study's contact",
)
OTHER_TASK: Final = Condition(
    "FA5347",
    "A study's task is not what a piece of code does",
    "study {study}: its task {task} is not what was asked of it",
    "name a study with the right kind of task",
)
JOB_WITHOUT_DATA: Final = _warned(
    "FA5348",
    "A job came without its dataset",
    "this task reads a dataset, and the job came without one",
    "approve the study anew with --dataset",
)
CHECKPOINT_FINDS_NO_ROOM: Final = Condition(
    "FA5381",
    "A checkpoint finds no room",
    "{reason}",
    "training goes on without a new checkpoint, which is tried again when the next one is due",
    severity=Severity.WARNING,
)
CHECKPOINT_EVICTED: Final = _told(
    "FA5382",
    "A checkpoint made room for another study's",
    "study {study}: its checkpoint of {size_mib} MiB made room for another study's",
)
