# SPDX-License-Identifier: Apache-2.0
"""FA9: command lines, and the demonstration."""

from functools import partial
from typing import Final

from fedagent.conditions.condition import Condition, ExitCode, Severity

_usage = partial(Condition, exit_code=ExitCode.USAGE)
_told = partial(Condition, severity=Severity.INFO)
_unavailable = partial(Condition, exit_code=ExitCode.UNAVAILABLE)
_configuration = partial(Condition, exit_code=ExitCode.CONFIGURATION)

BAD_WATCH: Final = _usage(
    "FA9001",
    "--watch with something else than seconds",
    "--watch {given}: how many seconds",
    "write a number of at least {least:g}, and a name before --watch",
)
# --- the demonstration's broker

BROKER_NOT_STARTED: Final = _unavailable(
    "FA9101",
    "The demonstration's broker was not started",
    "the broker on port {port} is not running",
    "start it first",
)
BROKER_ENDED: Final = _unavailable(
    "FA9102",
    "The demonstration's broker ended at its start",
    "the broker on port {port} ended before it accepted a connection: {reason}",
    "read {log}",
)
BROKER_ACCEPTS_NOTHING: Final = _unavailable(
    "FA9103",
    "The demonstration's broker accepts no connection",
    "the broker on port {port} accepts no connection within {limit_s:g} s: {reason}",
    "try again when the machine is less busy",
)
NO_NEW_MOSQUITTO: Final = _unavailable(
    "FA9104",
    "Mosquitto is too old",
    "{program} is not mosquitto {oldest} or newer",
    "install the package mosquitto (version {oldest} or newer) and try again",
)
LIBRARY_IN_NO_PACKAGE: Final = _unavailable(
    "FA9105",
    "Mosquitto needs a library that is in no package",
    "mosquitto needs {library}, which is in no package that it depends on",
    "install the package mosquitto and try again",
)
CANNOT_FETCH_MOSQUITTO: Final = _unavailable(
    "FA9106",
    "Mosquitto is not here and cannot be fetched",
    "there is no mosquitto here, and {command} cannot fetch it: {reason}",
    "install the package mosquitto and try again",
)

# --- datasets

WHICH_DATASET: Final = _usage("FA9301", "No dataset is named", "which dataset?", "name it, or ask for --list")
NOT_A_DATASET_NAME: Final = _usage(
    "FA9302",
    "Not a dataset's name",
    "{name!r} cannot be a dataset's name",
    "use 2 to 32 of a-z, 0-9 and -, not - first",
)
SNAPSHOT_NOT_STARTED: Final = Condition(
    "FA9303",
    "The snapshot program does not start",
    "cannot start the snapshot program as {user}: {reason}",
    "try again as root",
)
STATE_NOT_SEEN: Final = Condition(
    "FA9304",
    "A user may not look at the trainer's state",
    "cannot look at {path}: {reason}",
    "run it as root",
)
NOT_SITE_AND_PATH: Final = _usage(
    "FA9305",
    "Not a site and a path",
    "{option} {pair}: is not SITE=PATH",
    "write it as north=/path/of/the/snapshot",
)
SITE_TWICE: Final = _usage(
    "FA9306", "A site is named twice", "{option}: a site is named twice", "name each site once"
)
OPTION_FILE: Final = _usage(
    "FA9307",
    "A file on the command line cannot be read",
    "{option}: cannot read {path}: {reason}",
    "correct its name or permissions",
)
AT_SITE: Final = Condition("FA9308", "A site's rows cannot be used", "{site}: {reason}")

# --- words on a command line

NO_COMMAND: Final = _usage(
    "FA9700", "No command is given", "no command is given", "{program} --help shows what there is"
)
NOT_A_COMMAND: Final = _usage(
    "FA9701", "No such command", "there is no command {name!r}", "fedagent --help shows what there is"
)
NOT_A_COMMAND_NEAR: Final = _usage(
    "FA9702",
    "No such command, one like it is known",
    "there is no command {name!r}",
    "did you mean {near!r}? fedagent --help shows what there is",
)
NOT_UNDERSTOOD: Final = _usage(
    "FA9703", "A command line is not understood", "{reason}", "{program} --help shows what there is"
)
FAULT: Final = Condition(
    "FA9704", "A fault of fedagent", "this is a fault of {program}", "please report it with the lines above"
)
WHICH_STUDY: Final = _usage(
    "FA9705", "No study is named", "no study is named", "fedagent study {action} NAME"
)
NOT_A_STUDY_NAME: Final = _usage(
    "FA9706",
    "Not a study's name",
    "{name!r} cannot be a study's name",
    "use 2 to 32 of a-z, 0-9 and -, not - first",
)
WHICH_DATA: Final = _usage(
    "FA9707",
    "A study is to be approved without data",
    "it is not said which data study {study} may read",
    "fedagent study approve {study} --dataset NAME",
)
NO_ROUNDS_APPROVED: Final = _usage(
    "FA9708",
    "A study is to be approved for no round",
    "--rounds {rounds}: must be at least 1",
    "to end the study here: fedagent study revoke {study}",
)
NOT_A_DURATION: Final = _usage(
    "FA9709",
    "Not a duration",
    "--for {given}: is no duration",
    "write a number and s, m, h or d, such as 30m",
)
DURATION_OUT_OF_RANGE: Final = _usage(
    "FA9710",
    "A pause of no time, or of more than a year",
    "--for {given}: must be more than nothing and at most a year",
    "leave --for out to pause until fedagent resume",
)
CA_WITHOUT_CERTIFICATE: Final = _usage(
    "FA9711", "--ca without --certificate", "--ca belongs to --certificate", "give both, or leave --ca out"
)
NO_TERMINAL: Final = _usage(
    "FA9712",
    "Nobody can be asked for the password",
    "there is no terminal to ask for the authority's password",
    "give --password-file",
)
PASSWORDS_DIFFER: Final = _usage(
    "FA9713", "Two passwords differ", "the passwords differ: nothing was made", "type the same one twice"
)
PASSWORD_NOT_TEXT: Final = _usage(
    "FA9714", "A password's file is no text", "{path} is no text", "it must be one line with the password"
)
NO_SUCH_CODE: Final = _usage(
    "FA9715",
    "No condition has that code",
    "there is no condition {code!r}",
    "did you mean {near}? without a code all are listed",
)

# --- a site's own commands

DATASETS_NOT_SEEN: Final = Condition(
    "FA9720", "A user may not look at the datasets", "cannot look into {path}: {reason}", "try sudo"
)
NO_DATASET_TO_APPROVE: Final = _configuration(
    "FA9721",
    "A study is to be approved for a dataset that is not there",
    "there is no dataset {dataset!r} in {folder}",
    "fedagent dataset add {dataset}",
)
NOTHING_TO_REVOKE: Final = Condition(
    "FA9722",
    "There is no approval to revoke",
    "study {study} is not approved here: there is nothing to revoke",
)
CANNOT_REVOKE: Final = Condition(
    "FA9723",
    "An approval cannot be removed",
    "cannot remove {path}: {reason}",
    "try sudo: the study is still approved",
)
SIGNED_UNUSABLE: Final = _configuration(
    "FA9724",
    "The certificate that came back cannot be used",
    "{path} cannot be used: {reason}",
    "tell the study centre",
)
SITE_NAME_UNUSABLE: Final = _configuration(
    "FA9725", "The site's name cannot stand in a request", "site.name: {reason}"
)
KEY_READ_BY_OTHERS: Final = _configuration(
    "FA9726", "Others can read a private key", "{path} can be read by others", "chmod 600 {path}"
)
REQUEST_MADE: Final = _told(
    "FA9727", "A site's request is made", "Request of site {site}; its key has the fingerprint"
)
COMPARE_REQUEST: Final = _told(
    "FA9728",
    "A request goes to the study centre",
    "Send the request to the study centre and compare the fingerprint by telephone",
    "then: sudo fedagent enroll --certificate FILE --ca FILE",
)

# --- the centre's

CENTRE_FOLDER: Final = Condition(
    "FA9740",
    "A study centre's folder cannot be made",
    "cannot make the folder {path}: {reason}",
    "try sudo, or name another folder",
)
NO_AUTHORITY_HERE: Final = Condition(
    "FA9741",
    "The authority is not on this machine",
    "there is no authority in {folder}",
    "run fedaggregator init, or sign on the machine that has it",
)
NOTHING_CREATED: Final = Condition(
    "FA9742",
    "The aggregator has no state yet",
    "nothing was created here yet: there is no {path}",
    "fedaggregator study create FILE",
    exit_code=ExitCode.UNAVAILABLE,
)
NOT_MEASURED: Final = _usage(
    "FA9743",
    "No model of a study was measured yet",
    "no model of study {study} was measured yet",
    "try --final",
)
NO_SUCH_MODEL: Final = _usage(
    "FA9744",
    "A study has no such model",
    "study {study} has no such model",
    "fedaggregator model list {study} shows those that it has",
)
SITE_SIGNED: Final = _told(
    "FA9745", "A site's request is signed", "Site {site} is signed; the request's key has the fingerprint"
)
COMPARE_SIGNED: Final = _told(
    "FA9746",
    "A certificate may go back to its site",
    "Ask the site's administrator by telephone for the number that fedagent enroll --request showed",
    "if it is the same, send the certificate back; if not, send nothing",
)

# --- the demonstration

DEMO_SITES: Final = _usage(
    "FA9760",
    "A demonstration with too few hospitals or too many",
    "--sites {sites}: must be {least} to {most}",
    "correct it",
)
DEMO_NUMBERS: Final = _usage(
    "FA9761",
    "A demonstration without rounds, or with a negative seed",
    "--rounds must be 1 or more, --seed 0 or more",
    "correct them",
)
DEMO_PATIENTS: Final = _usage(
    "FA9762",
    "The demonstration's patients are too few",
    "the demo's {patients} patients are enough for 1 to {most} hospitals, not for {hospitals}",
    "ask for fewer",
)
DID_NOT_COME: Final = Condition(
    "FA9763",
    "A demonstration waits too long",
    "{what} did not come in {limit_s:g} s",
    "read the logs in {folder}",
)
DEMO_PROGRAM_ENDED: Final = Condition(
    "FA9764",
    "A program of the demonstration ended early",
    "{program} ended with {code}: {reason}",
    "all of it is in {log}",
)
DEMO_COMMAND_SLOW: Final = Condition(
    "FA9765",
    "A command of the demonstration does not end",
    "{command} did not end in {limit_s:g} s",
    "try again when the machine is less busy",
)
DEMO_COMMAND_FAILED: Final = Condition(
    "FA9766", "A command of the demonstration failed", "{command} failed: {reason}"
)
HOSPITAL_SILENT: Final = Condition(
    "FA9767",
    "A hospital of the demonstration does not answer",
    "{hospital} does not answer any more",
    "run again with --keep and read its log",
)
DEMO_NOT_ENDED: Final = Condition(
    "FA9768",
    "The demonstration's study does not end",
    "the study did not end in {limit_s:g} s",
    "run again with --keep and read the logs",
)
