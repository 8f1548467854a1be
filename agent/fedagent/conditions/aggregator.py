# SPDX-License-Identifier: Apache-2.0
"""FA8: the aggregator: studies, rounds, models and the authority."""

from functools import partial
from typing import Final

from fedagent.conditions.condition import Condition, ExitCode, Severity

_told = partial(Condition, severity=Severity.INFO)
_warned = partial(Condition, severity=Severity.WARNING)
_usage = partial(Condition, exit_code=ExitCode.USAGE)
_unavailable = partial(Condition, exit_code=ExitCode.UNAVAILABLE)
_fault = partial(Condition, action="please report this, it is a fault of fedaggregator")
_configuration = partial(Condition, exit_code=ExitCode.CONFIGURATION)

# --- the daemon ---------------------------------------------------------------------------------------------------

AGGREGATOR_READY: Final = _told(
    "FA8601", "The aggregator is ready", "the aggregator is ready, its state is in {path}"
)
AGGREGATOR_STOPS: Final = _told("FA8602", "The aggregator stops", "the aggregator stops")
NOT_INITIALISED: Final = _configuration(
    "FA8603",
    "A certificate or key of the aggregator is missing",
    "cannot read {path}: {reason}",
    "run fedaggregator init",
)
NOT_AN_AGGREGATOR: Final = _configuration(
    "FA8604",
    "The certificate is not an aggregator's",
    "broker.certificate: {path} is not an aggregator's certificate",
    "name the one that fedaggregator init wrote",
)
JOB_OVERTAKEN: Final = _told(
    "FA8605",
    "A study ended while a job of it ran",
    "study {study} is over, and so is its job: its files are deleted",
)
SERVING: Final = _told("FA8606", "The aggregator serves", "connected")
SERVING_WITHOUT_BROKER: Final = _told("FA8607", "The aggregator has no broker", "not connected to the broker")
MAY_NOT_ASK: Final = Condition(
    "FA8608",
    "Only root and the aggregator's own user may change studies",
    "only root and the aggregator's own user may do this",
    "try sudo",
)

# --- studies ------------------------------------------------------------------------------------------------------

NO_SUCH_STUDY: Final = _usage(
    "FA8609", "No study of that name", "there is no study {study!r}", "fedaggregator study status lists them"
)
STUDY_STARTED: Final = _told("FA8610", "A study was started", "study {study} is started")
CANNOT_STOP: Final = _usage(
    "FA8611",
    "A study that has ended cannot be stopped",
    "study {study} cannot be stopped: it is {phase}",
    "there is nothing left to do for it",
)
CENTRE_SAYS: Final = _told("FA8612", "The study centre stopped the study", "{text}")
STUDY_IS_STOPPED: Final = _told("FA8613", "A study was stopped", "study {study} is stopped: {reason}")
STUDY_FAILED: Final = Condition(
    "FA8614",
    "A study cannot go on",
    "study {study} failed in round {round}: {reason}",
    "create it anew under another name",
)
STUDY_IS_OVER: Final = _told("FA8615", "A study has ended", "study {study} has ended")

STATE_IN_USE: Final = _unavailable(
    "FA8616",
    "Another process writes the aggregator's state",
    "another fedaggregator uses {path}",
    "stop it, or try again",
)
STUDY_FILE_WRONG: Final = _configuration(
    "FA8617", "A study's file has problems", "{path}: {problems}", "correct the file"
)
NO_METRICS_TO_STOP_BY: Final = _configuration(
    "FA8618",
    "Early stopping needs metrics",
    "federation.early_stopping: the identity task reports no metrics",
)
TOO_MANY_TENSORS: Final = _configuration(
    "FA8619", "A model has too many tensors", "task: the model has too many tensors ({count})"
)
STUDY_TOO_LONG: Final = _configuration(
    "FA8620",
    "A study is too long to announce",
    "the study is too long to announce: {bytes} bytes, allowed are {allowed}",
)
STUDY_NAME_TAKEN: Final = _usage(
    "FA8621",
    "Another study has this name",
    "another study is named {study!r}",
    "a study never changes, so choose a new name",
)
CANNOT_START: Final = _usage(
    "FA8622",
    "A study that has ended cannot be started",
    "study {study} cannot be started: it is {phase}, for good",
    "create a new one",
)
# --- rounds -------------------------------------------------------------------------------------------------------

ROUND_IS_OPEN: Final = _told("FA8630", "A round is open", "study {study} round {round}: it is open")
EVALUATION_OPEN: Final = _told(
    "FA8631",
    "The final model is open for evaluation",
    "study {study}: the final model is open for evaluation",
)
ROUND_FULL: Final = _told(
    "FA8632",
    "A round was closed with all its sites",
    "study {study} round {round}: closed with all its sites",
)
ROUND_CLOSED_WITHOUT: Final = _told(
    "FA8633",
    "A round was closed without some of its sites",
    "study {study} round {round}: closed without {sites}",
)
ROUND_WAITS: Final = _warned("FA8634", "A round was extended", "study {study} round {round}: {reason}")
COMBINES_UPDATES: Final = _told(
    "FA8635",
    "The updates of a round are combined",
    "study {study} round {round}: combines the updates of {count} of {sites} sites",
)
COMBINES_METRICS: Final = _told(
    "FA8636",
    "The results of an evaluation are combined",
    "study {study} round {round}: combines the metrics of {count} of {sites} sites",
)
UPDATE_HERE: Final = _told(
    "FA8637", "A site's update is here", "study {study} round {round}: the update of site {site} is here"
)
RESULT_HERE: Final = _told(
    "FA8638", "A site's result is here", "study {study} round {round}: the result of site {site} is here"
)
SITE_REFUSED: Final = _warned(
    "FA8639",
    "A site is told that its part is not taken",
    "study {study} round {round}: site {site} is refused ({reason}): {text}",
)
SITE_CANCELLED: Final = _told(
    "FA8640",
    "A site is told to stop its work",
    "study {study} round {round}: site {site} is told to stop: {text}",
)
SITE_DECLINES: Final = _warned(
    "FA8641",
    "A site will send nothing in a round",
    "study {study} round {round}: site {site} declines ({reason}): {text}",
)
UPDATE_DELETED: Final = _told(
    "FA8642",
    "A site's update was deleted",
    "study {study} round {round}: the update of site {site} is deleted",
)
UPDATE_UNUSABLE: Final = _warned(
    "FA8643",
    "A site's update cannot be used",
    "study {study} round {round}: the update of site {site} cannot be used: {reason}",
)
UPDATE_LOST_HERE: Final = _warned(
    "FA8644", "An update was lost here", "the update was lost here", "send it anew"
)
NO_SUCH_ROUND: Final = _fault(
    "FA8645",
    "A round that a job was for is not known",
    "study {study} has no round {round}",
)
NO_MODEL_OF_ROUND: Final = _fault(
    "FA8646",
    "The model of a round is not known",
    "study {study} has no model for round {round}",
)
ROUND_AWAY: Final = _told(
    "FA8647",
    "A round is not open any more",
    "the round is closed",
    "the next announcement says what is open",
)
NOT_NAMED: Final = _warned(
    "FA8648",
    "A study does not name a site",
    "study {study} does not name site {site}",
    "tell the study's contact if it should",
)
ANOTHER_UPDATE_STORED: Final = _warned(
    "FA8649",
    "Another update of a site is stored already",
    "another update of site {site} is already stored for round {round}",
)
ROUND_REOPENED: Final = _warned(
    "FA8650",
    "A round is open again, because an update could not be used",
    "an update could not be used: {site} ({reason})",
)
BELOW_QUORUM: Final = _warned(
    "FA8651",
    "Too few updates at a round's deadline",
    "{stored} of {quorum} needed updates at the deadline, so it was extended; waiting for {waiting}; without {away}",
)
STORED_UNASKED: Final = _fault(
    "FA8652",
    "An update was stored that no round waits for",
    "site {site} stored what round {round} of {study} does not wait for",
)
TOO_FEW_FOLDED: Final = _fault(
    "FA8653",
    "A round was folded below its quorum",
    "{count} updates are fewer than the quorum of {quorum}",
)
NO_PART: Final = _fault(
    "FA8654", "A site has no part in a round", "site {site} is no member of study {study}"
)
NO_ENTRY: Final = _fault(
    "FA8655", "A life cycle has no such step", "{table} {phase} has no entry for {event}"
)

ROUND_NOT_KNOWN: Final = _warned(
    "FA8656",
    "A site speaks of a round that is not known here",
    "site {site} speaks of round {round} of study {study}, which is not open",
)
OTHER_VERSION_APPROVED: Final = _warned(
    "FA8657",
    "A site approved another version of a study",
    "site {site} approved another version of study {study}",
    "approve the announced one",
)
# --- folding ------------------------------------------------------------------------------------------------------

NOTHING_TO_FOLD: Final = _fault(
    "FA8660",
    "A round has no update to fold",
    "there is no update to fold",
)
MODEL_NOT_FINITE: Final = Condition(
    "FA8661",
    "The new global model is not finite",
    "the new global model is not finite",
    "lower the server's or the sites' learning rate",
)
FOLD_STOPPED: Final = _told(
    "FA8662", "A fold was stopped", "the fold was stopped, because the aggregator stops"
)
UPDATE_NOT_DECRYPTED: Final = _warned(
    "FA8663",
    "An update does not decrypt",
    "the update does not decrypt: {reason}",
    "the site must send it anew",
)
UPDATE_OF_ANOTHER_MODEL: Final = _warned(
    "FA8664",
    "An update is of another model",
    "the update's header is not that of the study's model",
    "is that site's fedagent of another version?",
)
UPDATE_NOT_FINITE: Final = _warned(
    "FA8665",
    "An update is not finite",
    "the update holds NaN or infinite values",
    "lower the study's learning rate",
)
SAME_UPDATE_OFFERED: Final = _warned(
    "FA8670", "Two sites offer the very same update", "another site has offered the very same update"
)
TOO_FEW_ROWS_OFFERED: Final = _warned(
    "FA8671",
    "An update rests on too few rows",
    "{rows} training rows, the study needs {least}",
)
EVALUATION_WITH_UPDATE: Final = _warned(
    "FA8672", "An evaluation has an update", "an evaluation sends no update"
)
WRONG_SIZE_OFFERED: Final = _warned(
    "FA8673",
    "An update has not the size of the study's model",
    "the update has {bytes} bytes in chunks of {chunk_bytes}, the study's has {due_bytes} in chunks of {due_chunk_bytes}",
)
SECRET_UNREADABLE: Final = _warned(
    "FA8674", "The secret of an update cannot be read", "the update's secret cannot be read: {reason}"
)
# --- the authority ------------------------------------------------------------------------------------------------

AUTHORITY_EXISTS: Final = _usage(
    "FA8680",
    "There is an authority already",
    "{path} has an authority already",
    "keep it, or choose another folder",
)
NO_PASSWORD: Final = _usage(
    "FA8681", "The authority's password is empty", "the authority's key needs a password", "give one"
)
NO_AUTHORITY: Final = _configuration(
    "FA8682",
    "There is no authority in a folder",
    "no authority in {path} ({reason})",
    "run fedaggregator init",
)
AUTHORITY_DAMAGED: Final = _configuration(
    "FA8683", "The authority's certificate is damaged", "{path} is no certificate", "restore it from a backup"
)
AUTHORITY_MIXED: Final = _configuration(
    "FA8684",
    "The authority's certificate and key are two authorities'",
    "ca.crt and ca.key in {path} do not belong together",
    "restore both from one backup",
)
AUTHORITY_CLOSED: Final = _usage(
    "FA8685", "The authority is not open", "the authority in {path} is not open", "give its password"
)
REQUEST_FOR_ANOTHER: Final = _usage(
    "FA8686",
    "A certificate request is for another site",
    "the request is for site {asked!r}, not {name!r}",
    "make it anew with the right site.name",
)
REQUEST_WITH_OTHER_KEY: Final = _usage(
    "FA8687",
    "A certificate request has a key of another kind",
    "the request's key is not ECDSA P-256",
    "make it with fedagent enroll --request",
)
NOT_A_REQUEST: Final = _usage(
    "FA8688",
    "Not a certificate request",
    "not a certificate request",
    "it must be what fedagent enroll --request wrote",
)
REQUEST_ALTERED: Final = _usage(
    "FA8689",
    "A certificate request was altered",
    "the request is not signed by its own key: it was altered",
    "get it anew",
)
REQUEST_WITHOUT_ONE_NAME: Final = _usage(
    "FA8690",
    "A certificate request has not one name",
    "the request has {count} common names, not one",
    "make it with fedagent enroll --request",
)
NO_BROKER_NAME: Final = _usage(
    "FA8691",
    "Not a name or address that a broker can have",
    "not the broker's name or address: {reason}",
    "give its DNS name or address with --host",
)
BROKER_NAME_MISSING: Final = _usage(
    "FA8692",
    "The broker's certificate has no name",
    "the broker's certificate needs the name or address that sites connect to",
    "give it with --host",
)
TWINS: Final = Condition(
    "FA8901",
    "Two machines use one site's identity",
    "two machines use the identity of site {site}: the one that came later was told to stop",
    "ask the site whether a machine was copied",
    severity=Severity.WARNING,
)
CLOCK_WAS_SET: Final = Condition(
    "FA8902",
    "The clock of the aggregator's machine was set",
    "this machine's clock was set by {seconds:+.0f} s: the deadlines of open rounds moved along",
    "let an NTP service keep it",
    severity=Severity.WARNING,
)
MODEL_EVICTED: Final = Condition(
    "FA8981",
    "A model's file was removed to stay in the budget",
    "study {study}: the file of the model after round {number} ({size_mib} MiB) is removed: models take more than storage.model_budget_mib",
    severity=Severity.WARNING,
)
MODEL_GONE: Final = Condition(
    "FA8982",
    "The file of a model was removed",
    "the file of the model after round {number} of study {study} was removed to stay in storage.model_budget_mib",
    "export another one (fedaggregator model list {study}), or restore it from a backup",
)
