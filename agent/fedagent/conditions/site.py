# SPDX-License-Identifier: Apache-2.0
"""FA7: the site: the verdict, the rounds at this site, the site's daemon."""

from functools import partial
from typing import Final

from fedagent.conditions.condition import Condition, ExitCode, Severity

_told = partial(Condition, severity=Severity.INFO)
_usage = partial(Condition, exit_code=ExitCode.USAGE)
_configuration = partial(Condition, exit_code=ExitCode.CONFIGURATION)
_warned = partial(Condition, severity=Severity.WARNING)

# --- the verdict

TRAINING_ALLOWED: Final = _told("FA7001", "Training is allowed", "training is allowed")
NO_TRAINING: Final = _told("FA7002", "Training is not allowed now", "no training: {reason}")
NOT_JUDGED: Final = _told("FA7003", "The machine was not judged yet", "settling")
PAUSED: Final = _told("FA7004", "An administrator paused training", "paused by {by}")
PAUSED_BECAUSE: Final = _told(
    "FA7005", "An administrator paused training and said why", "paused by {by}: {reason}"
)
RESUMED: Final = _told("FA7006", "An administrator let training go on", "resumed")
MACHINE_NOT_KNOWN: Final = _told(
    "FA7007", "The machine was not looked at lately", "the state of the machine is not known"
)
WAITING_IDLE: Final = _told(
    "FA7008", "The machine has to stay idle a while", "idle, waiting {wait_s:g} s before training"
)
MEMORY_NOT_KNOWN: Final = _warned(
    "FA7009", "Available memory cannot be read", "available memory cannot be read", "look at /proc/meminfo"
)
MEMORY_SHORT: Final = _told(
    "FA7010",
    "Others need the memory",
    "{available_mib} MiB memory available, {needed_mib} MiB must stay free",
)
OUTSIDE_HOURS: Final = _told(
    "FA7011",
    "Training is not allowed at this hour",
    "outside the hours in which training is allowed",
)
CPU_NOT_KNOWN: Final = _warned(
    "FA7012", "The use of the CPU cannot be read", "the use of the CPU cannot be read", "look at /proc/stat"
)
CPU_BUSY: Final = _told(
    "FA7013", "Others need the CPU", "others use {used:.0%} of the CPU, above {threshold:.0%}"
)
DISK_NOT_KNOWN: Final = _warned(
    "FA7014",
    "The room on the disk cannot be read",
    "the room on the disk cannot be read",
    "look at the disk below the state folder",
)
DISK_SHORT: Final = _warned(
    "FA7015",
    "The disk is nearly full",
    "{free_mib} MiB free on the disk, {needed_mib} MiB must stay free",
    "free space there",
)
SETTINGS_READ: Final = _told("FA7016", "The settings were read anew", "the settings were read anew")

# --- may this study use this site

NOT_APPROVED: Final = _warned(
    "FA7020",
    "A study is not approved here",
    "study {study} is not approved here",
    "sudo fedagent study approve {study} --dataset NAME",
)
CHANGED_SINCE_APPROVAL: Final = _warned(
    "FA7021",
    "A study was changed after its approval",
    "study {study} was changed after its approval",
    "sudo fedagent study show {study}, then approve it anew",
)
BEYOND_APPROVAL: Final = _warned(
    "FA7022",
    "A round is beyond the approved ones",
    "round {round} of study {study} is beyond the approved {rounds} rounds",
    "approve it anew to allow more",
)
OBSERVING: Final = _warned(
    "FA7023",
    "The site only observes",
    'mode = "observe": this site governs and records, and never trains',
    'set mode = "train" to take part',
)

# --- the rounds at this site

ROUND_OPEN: Final = _told("FA7030", "A round is open", "study {study}: round {round} of {rounds} is open")
FINAL_MODEL_OPEN: Final = _told(
    "FA7031", "The final model is open", "study {study}: the final model is open for evaluation"
)
STUDY_ENDED: Final = _told(
    "FA7032", "A study has ended", "study {study}: it has ended, {rounds} rounds are closed"
)
WAITS_FOR_TRAINER: Final = _told(
    "FA7033", "A study waits for the trainer's key", "waits for the trainer to come up once"
)
WAITS_FOR_KEY: Final = _told("FA7034", "A study waits for the model's key", "waits for the model's key")
MODEL_HERE: Final = _told(
    "FA7035", "A round's model is here", "study {study}: the model for round {round} is here"
)
FINAL_MODEL_HERE: Final = _told(
    "FA7036", "The final model is here", "study {study}: the model for the evaluation is here"
)
TRAINS: Final = _told(
    "FA7037", "A round's training begins", "study {study}: trains round {round} of {rounds}"
)
EVALUATES: Final = _told(
    "FA7038", "The final model's evaluation begins", "study {study}: evaluates the final model"
)
UPDATE_SEALED: Final = _told(
    "FA7039",
    "An update is sealed",
    "study {study}: the update of round {round} is sealed, {size_bytes} bytes, {rows} rows",
)
EVALUATION_SEALED: Final = _told(
    "FA7040",
    "An evaluation is sealed",
    "study {study}: the evaluation of the final model is sealed, {rows} rows",
)
WAITS_FOR_RECEIPT: Final = _told(
    "FA7041", "A result waits for the aggregator", "waits for the aggregator to take the update"
)
UPDATE_DELIVERED: Final = _told(
    "FA7042", "An update is delivered", "study {study}: the update of round {round} is delivered"
)
EVALUATION_DELIVERED: Final = _told(
    "FA7043",
    "An evaluation is delivered",
    "study {study}: the evaluation of the final model is delivered",
)
WAITS_FOR_ROUND: Final = _told("FA7044", "A study waits for its next round", "waits for the next round")
ROUND_DECLINED: Final = _warned(
    "FA7045", "This site declines a round", "study {study}: round {round} declined: {reason}"
)
PART_ENDED: Final = _warned(
    "FA7046",
    "The aggregator ended this site's part in a round",
    "study {study}: the aggregator ended our part in round {round}: {reason}",
)
UPDATE_LOST: Final = _warned(
    "FA7047", "A sealed update is gone from the disk", "the spooled update was lost: trains anew"
)
MODEL_LOST: Final = _warned("FA7048", "A model is gone from the disk", "the model was lost: fetches it anew")
TRAINING_PAUSED: Final = _told("FA7049", "Training stands still", "training paused: {reason}")
TRAINING_RESUMES: Final = _told("FA7050", "Training goes on", "training goes on")
TRAINER_YIELDED: Final = _told("FA7051", "The trainer gave its memory back", "trainer ended: {reason}")
WRONG_STEP: Final = Condition(
    "FA7052",
    "A round's life cycle has no such step",
    "a site that is {phase!r} cannot be {trigger!r}",
    "report this fault of fedagent with the journal's last lines",
)

# --- why a round ends without this site, for both ends

TRAINING_CRASHED: Final = _warned(
    "FA7060",
    "The training crashed more than once",
    "the training crashed more than once",
    "the site's journal tells where",
)
OUT_OF_MEMORY: Final = _warned(
    "FA7061",
    "The training needs more memory than the site has",
    "the training needs more memory than there is here",
    "lower the study's batch size, or give the site more",
)
TRAINING_STUCK: Final = _warned(
    "FA7062",
    "The training stood still more than once",
    "the training stood still more than once",
    "the site's journal tells where",
)
NOT_FINITE: Final = _warned(
    "FA7063",
    "The training diverged",
    "the training diverged: its numbers are not finite",
    "lower the study's learning rate",
)
TOO_FEW_PATIENTS: Final = _warned(
    "FA7064", "Too few patients are usable at a site", "too few patients are usable here"
)
NO_SNAPSHOT: Final = _warned(
    "FA7065",
    "The approved dataset has no snapshot",
    "the approved dataset has no usable snapshot",
    "take one at the site: fedagent dataset snapshot NAME",
)
DATA_DO_NOT_FIT: Final = _warned(
    "FA7066",
    "The dataset does not fit the study",
    "the dataset does not fit the study",
    "see at the site what does not: fedagent dataset check NAME",
)
NOT_OR_NO_LONGER_APPROVED: Final = _warned(
    "FA7067",
    "The study is not approved at a site",
    "the study is not approved here, or not for this round",
)
NOTHING_MAY_LEAVE: Final = _warned(
    "FA7068", "The gate let nothing leave the site", "the result is not what may leave the site"
)
NOT_A_MEMBER: Final = _warned(
    "FA7069", "The study does not name this site", "the study does not name this site"
)
OTHER_STUDY: Final = _warned(
    "FA7070",
    "Another version of the study is approved",
    "another version of the study is approved here",
    "approve it anew at the site",
)
ROUND_CLOSED: Final = _warned("FA7071", "The round is over", "the round is over, or was worked on already")
ALREADY_COUNTED: Final = _warned("FA7072", "The update was counted already", "the update was counted already")
UNREADABLE: Final = _warned(
    "FA7073",
    "A round's announcement, key or model cannot be read",
    "announcement, key or model cannot be read here",
    "the site's journal tells which",
)
STUDY_STOPPED: Final = _warned("FA7074", "The study was stopped", "the study was stopped")
NO_ROOM_TO_TRAIN: Final = _warned(
    "FA7075", "The trainer's disk is full", "there is no room on the trainer's disk", "free space there"
)

SITE_READY: Final = _told(
    "FA7601", "The site daemon is ready", "site {site}, {studies} studies known, broker {host}:{port}"
)
JUST_STARTED: Final = _told("FA7602", "The daemon has just started", "the daemon has just started")
SETTINGS_UNCHANGED: Final = Condition(
    "FA7603",
    "The settings were not read anew",
    "the settings stay as they were: {reason}",
    "then systemctl reload fedagent",
)
NOT_ENROLLED: Final = _configuration(
    "FA7604",
    "A certificate or key of the site is missing",
    "cannot read {path}: {reason}",
    "has this site joined (fedagent enroll --request)?",
)
OTHER_SITES_CERTIFICATE: Final = _configuration(
    "FA7605",
    "The certificate is another site's",
    "{path} is the certificate of {other!r}, but site.name is {name!r}",
    "install the right one with fedagent enroll --certificate, or correct site.name",
)
MAY_NOT_PAUSE: Final = Condition(
    "FA7606",
    "Only root and a group may pause and resume",
    "only root and group {group} may pause and resume",
    "try sudo",
)
NO_STUDY_HERE: Final = _usage(
    "FA7607",
    "No study of that name is known at this site",
    "no study {study!r} is known here",
    "fedagent study list shows those that are",
)
JOB_OVER_UNSTORED: Final = _warned(
    "FA7608",
    "A job is over, and the disk has no room to say so",
    "the trainer is closed: its job is over, which cannot be stored before there is room",
)
# --- approvals, updates and models on disk

APPROVAL_IGNORED: Final = _warned(
    "FA7700", "An approval does not count", "this approval does not count: {reason}"
)
UPDATE_TOO_LATE: Final = _told(
    "FA7701",
    "An update came after its job was over",
    "study {study}: an update of round {round} was dropped: its job was over",
)
NOT_ITS_UPDATE: Final = _warned(
    "FA7702",
    "The trainer handed over what is no update of its study",
    "the trainer is closed: what it handed over for study {study} is no update of it: {reason}",
    "tell the study's contact",
)
JOB_WITHOUT_ITS_MODEL: Final = Condition(
    "FA7703",
    "The model of a job is gone from the disk",
    "the model {model} is gone from the disk",
    "systemctl restart fedagent fetches it anew",
)
STATE_UNREADABLE: Final = Condition(
    "FA7704",
    "The site's state cannot be read",
    "the site's state cannot be read: {reason}",
    "restore it from a backup, or remove it and join anew",
)

# --- the daemon

DISPLACED: Final = Condition(
    "FA7901",
    "Another machine runs as this site",
    "another machine was running as site {site} when this daemon started, with the same key and certificate: this one stops",
    "if this is a copy, give it a name of its own and enrol it (fedagent enroll); if the other one is, stop that one and start"
    " this one again",
    exit_code=ExitCode.CONFIGURATION,
)
TWIN_STOPPED: Final = Condition(
    "FA7902",
    "A second machine used this site's identity",
    "another machine started to use the key and certificate of site {site} and was told to stop",
    "look for a copy of this machine and enrol it under a name of its own; nothing is lost here",
    severity=Severity.WARNING,
)
CLOCK_WAS_SET_HERE: Final = Condition(
    "FA7903",
    "The clock of the site's machine was set",
    "this machine's clock was set by {seconds:+.0f} s: the end of a pause moved along",
    "let an NTP service keep it",
    severity=Severity.WARNING,
)
