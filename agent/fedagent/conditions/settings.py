# SPDX-License-Identifier: Apache-2.0
"""FA2: what an administrator wrote or put in place: TOML files, keys and certificates of this machine."""

from functools import partial
from typing import Final

from fedagent.conditions.condition import Condition, ExitCode

_configuration = partial(Condition, exit_code=ExitCode.CONFIGURATION)

CANNOT_READ: Final = _configuration(
    "FA2001",
    "A settings file cannot be read",
    "cannot read {path}: {reason}",
    "correct its name or permissions",
)
NOT_TOML: Final = _configuration(
    "FA2002", "A settings file is not TOML", "{path} is not TOML: {reason}", "correct that line"
)
UNKNOWN_KEY: Final = _configuration(
    "FA2003", "Unknown key", "{path}: {key}: unknown key", "remove it, or correct its name"
)
UNKNOWN_KEY_NEAR: Final = _configuration(
    "FA2004", "Unknown key, one like it is known", "{path}: {key}: unknown key", "did you mean {near!r}?"
)
WRONG_VALUE: Final = _configuration("FA2005", "Wrong value", "{path}: {key}: {problem}", "correct it")
MISSING_KEY: Final = _configuration("FA2006", "Key missing", "{path}: {key}: is missing", "add it")
NOT_A_CHOICE: Final = _configuration(
    "FA2007",
    "None of the values that a key can have",
    "{path}: {key}: {value!r} is not one of {known}",
    "correct it",
)
NOT_A_CHOICE_NEAR: Final = _configuration(
    "FA2008",
    "None of the values that a key can have, one like it is known",
    "{path}: {key}: {value!r} is not one of {known}",
    "did you mean {near!r}?",
)
NOT_A_NAME: Final = _configuration(
    "FA2009", "Not a name", "{path}: {key}: is no name", "use 2 to 32 of a-z, 0-9 and -, not - first"
)
NOT_A_COLUMN: Final = _configuration(
    "FA2010",
    "Not a column's name",
    "{path}: {key}: is no column's name",
    "use letters, digits and _, not a digit first",
)
NOT_A_CLOCK: Final = _configuration(
    "FA2011", "Not a time of the day", "{path}: {key}: is no time of the day", "write it as 07:30"
)
ENTER_ABOVE_LEAVE: Final = _configuration(
    "FA2020",
    "Training would enter a busier machine than it leaves",
    "cpu_enter_ratio {enter} is above cpu_leave_ratio {leave}",
)
KEY_UNREADABLE: Final = _configuration(
    "FA2030",
    "A private key cannot be read",
    "the private key cannot be read: {reason}",
    "make it anew with fedagent enroll --request",
)
WRONG_PRIVATE_KEY: Final = _configuration(
    "FA2031",
    "A private key is of another kind",
    "the private key is not ECDSA P-256",
    "make it with fedagent enroll --request",
)
NO_AUTHORITY_CERTIFICATE: Final = _configuration(
    "FA2032",
    "The authority's file is not one certificate",
    "not the one certificate of a study's authority: {reason}",
    "get ca.crt anew",
)
NOT_AN_AUTHORITY: Final = _configuration(
    "FA2033",
    "The authority's certificate is not an authority's",
    "the certificate is not that of an authority (CA, P-256)",
    "get ca.crt anew",
)
OUR_CERTIFICATE_UNUSABLE: Final = _configuration(
    "FA2034",
    "This program's certificate cannot be used",
    "the certificate cannot be used: {reason}",
    "enroll again",
)
OTHER_PRIVATE_KEY: Final = _configuration(
    "FA2035",
    "Certificate and private key do not belong together",
    "the certificate is for another private key",
    "enroll again",
)
RESERVED_WORD: Final = _configuration(
    "FA2040", "A name is a reserved word", "{name!r} is a reserved word", "choose another name"
)
THERE_TWICE: Final = _configuration("FA2041", "A value is there twice", "{what} {value!r} is there twice")
SAME_NUMBER: Final = _configuration(
    "FA2042", "Two values are the same number", "two of {what} {values} are the same number"
)
MINIMUM_ABOVE_MAXIMUM: Final = _configuration(
    "FA2043",
    "A column's minimum is above its maximum",
    "minimum {minimum} of column {column!r} is above its maximum {maximum}",
)
NO_SUCH_BASELINE: Final = _configuration(
    "FA2044",
    "A column's baseline is none of its categories",
    "baseline {baseline!r} is not one of the categories of column {column!r}",
)
NO_FIXED_NUMBERS: Final = _configuration(
    "FA2045",
    "Fixed normalisation lacks its numbers",
    "fixed normalisation needs mean and standard_deviation of column {column!r}",
)
TENSORS_WITHOUT_PARAMETERS: Final = _configuration(
    "FA2046",
    "More tensors than parameters",
    "{tensors} tensors cannot share {parameters} parameters",
)
QUORUM_TOO_LARGE: Final = _configuration(
    "FA2047",
    "The quorum is larger than the federation",
    "a quorum of {quorum} needs more than the {sites} sites",
)
MODEL_TOO_LARGE: Final = _configuration(
    "FA2048",
    "The model does not fit its chunks",
    "a model of {bytes} bytes does not fit {chunks} chunks of {chunk_bytes}",
)
AUTHORITY_FILE: Final = _configuration(
    "FA2050", "The authority's file cannot be used", "broker.ca: {path}: {reason}"
)
CREDENTIALS: Final = _configuration(
    "FA2051",
    "Certificate and key of this program cannot be used",
    "broker.certificate: {certificate} with {key}: {reason}",
)
CERTIFICATE_REFUSED: Final = _configuration(
    "FA2052",
    "The authority did not issue this program's certificate",
    "broker.certificate: {path} is none that {ca} vouches for: {reason}",
    "install the two that belong together",
)
CERTIFICATE_NOT_NOW: Final = Condition(
    "FA2053",
    "This program's certificate is not valid now",
    "broker.certificate: {path}: {reason}",
    "until then the broker accepts no connection",
)
MAY_NOT_READ: Final = _configuration(
    "FA2054",
    "A daemon may not read its own key or certificate",
    "cannot read {path}: {reason}",
    "correct its owner: the user of the service must read it",
)
BROKER_FILE_UNREADABLE: Final = _configuration(
    "FA2101",
    "A key or certificate for the broker cannot be read",
    "{setting}: cannot read {path}: {reason}",
    "correct its owner or permissions, or enroll this machine",
)
NOT_A_CA: Final = _configuration(
    "FA2102",
    "The authority's certificate is not in PEM form",
    "broker.ca: {path} is not a certificate in PEM form",
    "get ca.crt anew",
)
KEY_IS_OPEN: Final = _configuration(
    "FA2103",
    "A private key is open to other users",
    "broker.key: {path} is open to other users (mode {mode:04o})",
    "chmod 0600 {path}",
)
OTHER_CERTIFICATE: Final = _configuration(
    "FA2104",
    "The key for the broker is not the certificate's",
    "broker.certificate: {key} is not the key of {certificate}",
    "enroll again, or restore the pair",
)
NOT_A_PAIR: Final = _configuration(
    "FA2105",
    "Certificate or key for the broker is not in PEM form",
    "broker.certificate: {certificate} and {key} must be a certificate and an unencrypted key in PEM form",
    "enroll again, or restore the pair",
)
APPROVAL_MISNAMED: Final = _configuration(
    "FA2106",
    "An approval is named for another study",
    "{path}: study: is {found!r}, but the file is named for {name!r}",
    "correct one of them",
)
TRAINER_CANNOT_READ_CA: Final = _configuration(
    "FA2301",
    "The trainer cannot read the authority's certificate",
    "cannot read {path}: {reason}",
    "let the trainer's user read it, or correct broker.ca",
)
