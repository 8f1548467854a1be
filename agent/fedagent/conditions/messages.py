# SPDX-License-Identifier: Apache-2.0
"""FA3: what a peer sent: messages, envelopes, certificates, blobs, frames."""

from functools import partial
from typing import Final

from fedagent.conditions.condition import Condition, Severity

_refused = partial(Condition, severity=Severity.WARNING)
"""Without an action where whoever wrote the message must act, and nobody here can."""

# --- messages

TOO_LONG: Final = _refused("FA3001", "Bytes from a peer are too many", "{bytes} bytes, allowed are {limit}")
MALFORMED: Final = _refused("FA3002", "Bytes from a peer are not what they must be", "{reason}")
NO_TOPIC: Final = _refused("FA3003", "A topic is none of ours", "topic {topic!r} is not one of fedagent/v1")
BAD_NAME_IN_TOPIC: Final = _refused("FA3004", "A topic has a bad name", "topic {topic!r} has a bad name")
NO_MESSAGES_THERE: Final = _refused(
    "FA3005", "A topic carries no messages", "{kind} topics carry bytes, not messages"
)
WRONG_TOPIC: Final = _refused(
    "FA3006", "A message is on a wrong topic", "{message} does not belong on {topic}"
)
MESSAGE_TOO_LONG: Final = _refused(
    "FA3007", "A message is too long", "{message} of {bytes} bytes, allowed are {limit}"
)
WRONG_SPEAKER: Final = _refused(
    "FA3008", "A topic belongs to somebody else", "{role} {name} may not speak on this topic"
)
WRONG_STUDY: Final = _refused(
    "FA3009",
    "A message is about another study than its topic",
    "the message is about study {named!r}, the topic about {study!r}",
)

# --- envelopes

OTHER_PROTOCOL: Final = _refused(
    "FA3020",
    "A peer speaks another version of the protocol",
    "protocol version {version}, this program speaks {ours}",
    "upgrade the older of the two",
)
NOT_CANONICAL: Final = _refused(
    "FA3021", "An envelope is not in canonical form", "the envelope is not in canonical form"
)
WRONG_SIGNATURE: Final = _refused(
    "FA3022", "A signature is wrong", "the signature is not {name}'s for this topic and body"
)
WRONG_RECIPIENT_KEY: Final = _refused(
    "FA3023", "A public key is none", "the recipient's public key is no X25519 key"
)
NOT_SEALED_TO_US: Final = _refused(
    "FA3024",
    "A secret cannot be opened",
    "the secret is not sealed to this key and purpose, or was altered",
)

# --- identities and certificates

WRONG_ROLE_NAME: Final = _refused(
    "FA3030", "A role has a name of its own", "the {role} cannot be named {name!r}"
)
NO_SITE_NAME: Final = _refused(
    "FA3031",
    "Not a site's name",
    "{name!r} is no site name",
    "use 2 to 32 of a-z, 0-9 and -, not - first",
)
RESERVED_SITE_NAME: Final = _refused(
    "FA3032",
    "A reserved word cannot name a site",
    "{name!r} is a reserved word and cannot name a site",
    "choose another name",
)
NO_IDENTITY: Final = _refused("FA3033", "Not one of our identities", "{text!r} is no fedagent identity")
CERTIFICATE_TOO_LONG: Final = _refused("FA3034", "A certificate is too long", "certificate of {bytes} bytes")
CERTIFICATE_UNREADABLE: Final = _refused(
    "FA3035", "A certificate cannot be read", "unreadable certificate: {reason}"
)
AUTHORITY_SIGNS_NO_MESSAGES: Final = _refused(
    "FA3036", "The authority does not sign messages", "the authority signs certificates, not messages"
)
OTHER_AUTHORITY: Final = _refused(
    "FA3037",
    "A certificate is from another authority",
    "the certificate is from another authority",
    "enroll with the authority whose ca.crt is in use here",
)
NOT_SIGNED_BY_AUTHORITY: Final = _refused(
    "FA3038", "A certificate is forged", "the authority did not sign the certificate"
)
NO_ALTERNATIVE_NAME: Final = _refused(
    "FA3039", "A certificate names nobody", "the certificate has no subject alternative name"
)
NOT_ONE_IDENTITY: Final = _refused(
    "FA3040",
    "A certificate does not name exactly one identity",
    "the certificate has {count} fedagent identities, not one",
)
OTHER_COMMON_NAME: Final = _refused(
    "FA3041",
    "A certificate's two names differ",
    "the certificate's common name is not {name!r}",
)
CERTIFICATE_NOT_YET_VALID: Final = _refused(
    "FA3042",
    "A certificate is not valid yet",
    "the certificate is valid only from {begin}, here it is {now}",
    "check this machine's clock",
)
CERTIFICATE_EXPIRED: Final = _refused(
    "FA3043",
    "A certificate has expired",
    "the certificate expired at {end}, here it is {now}",
    "check this machine's clock, or have its holder enroll again",
)
AUTHORITY_NOT_YET_VALID: Final = _refused(
    "FA3044",
    "The authority's certificate is not valid yet",
    "the authority's certificate is valid only from {begin}, here it is {now}",
    "check this machine's clock",
)
AUTHORITY_EXPIRED: Final = _refused(
    "FA3045",
    "The authority's certificate has expired",
    "the authority's certificate expired at {end}, here it is {now}",
    "check this machine's clock, or get ca.crt anew from the aggregator's administrator",
)
UNKNOWN_EXTENSION: Final = _refused(
    "FA3046",
    "A certificate has an unknown critical extension",
    "the certificate has the unknown critical extension {extension}",
)
NO_PURPOSE: Final = _refused(
    "FA3047", "A certificate has no purpose", "the certificate does not say what it is for: {reason}"
)
AUTHORITY_AS_SENDER: Final = _refused(
    "FA3048",
    "An authority's certificate signed a message",
    "a certificate of an authority cannot sign messages",
)
NOT_A_CLIENT: Final = _refused(
    "FA3049", "A certificate is for another purpose", "the certificate is not for a client that signs"
)
WRONG_KEY_KIND: Final = _refused(
    "FA3050", "A certificate's key is of another kind", "the certificate's key is not ECDSA P-256"
)

CERTIFICATE_NOT_CANONICAL: Final = _refused(
    "FA3051", "A certificate is not in canonical form", "the certificate is not in canonical form"
)

# --- blobs and tensors

NO_SUCH_BLOB_SIZE: Final = _refused(
    "FA3060", "No blob has this size", "no blob has {bytes} bytes in chunks of {chunk_bytes}"
)
WRONG_BLOB_KEY: Final = _refused(
    "FA3061", "A blob's key is too long or too short", "a blob's key has {needed} bytes, not {bytes}"
)
CHUNK_ALTERED: Final = _refused(
    "FA3062", "A chunk cannot be opened", "the chunk was altered or is not from here"
)
CHUNKS_DO_NOT_COVER: Final = _refused(
    "FA3063",
    "A manifest has too many or too few chunks",
    "{chunks} chunk digests do not cover {bytes} bytes",
)
WRONG_TENSOR_HEADER: Final = _refused(
    "FA3064",
    "A tensor file's header does not fit the file",
    "header of {bytes} bytes in the first {prefix} of a file of {file_bytes}",
)
WRONG_TENSOR_SHAPE: Final = _refused(
    "FA3065", "A tensor's shape does not fit its bytes", "shape {shape} does not fill {begin} to {end}"
)
TENSOR_GAP: Final = _refused(
    "FA3066",
    "Tensors overlap or leave gaps",
    "bytes {begin} to {end} of the data are in no tensor or in two",
)
NO_TENSOR_HEADER: Final = _refused(
    "FA3067", "A tensor file has no header", "the header does not begin with '{{'"
)
NOT_SAFETENSORS: Final = _refused(
    "FA3068",
    "A file is not safetensors with float32 only",
    "the header is not of safetensors with float32 only: {reason}",
)
KEY_TWICE: Final = _refused("FA3069", "A key is there twice", "a key is there twice")

# --- frames between our own processes

FRAME_TOO_LONG: Final = _refused(
    "FA3080",
    "A frame is too long",
    "{frame} has {bytes} bytes and {descriptors} descriptors",
    "report this fault of fedagent",
)
FRAME_CUT: Final = _refused(
    "FA3081", "A frame was cut", "a frame of more than {bytes} bytes or {descriptors} descriptors"
)
CANNOT_SEAL: Final = _refused(
    "FA3082", "Shared memory cannot be sealed", "the memfd cannot be sealed: {reason}"
)
NO_MEMFD: Final = _refused("FA3083", "A descriptor is no shared memory", "the descriptor is no memfd")
NOT_SEALED: Final = _refused(
    "FA3084", "Shared memory is not sealed", "the memfd is not sealed (seals {seals}, needed {needed})"
)
MEMFD_TOO_LARGE: Final = _refused(
    "FA3085", "Shared memory is too large", "the memfd has {bytes} bytes, allowed are {limit}"
)
WRONG_DESCRIPTORS: Final = _refused(
    "FA3086",
    "A frame has other descriptors than it promises",
    "{count} descriptors with ready, expected {expected}",
)
NOT_READY: Final = _refused("FA3087", "The trainer spoke before it was ready", "{frame} before ready")

# --- blobs on their way

NO_SUCH_BLOB: Final = _refused("FA3101", "No such blob is here", "there is no blob {blob}")
NO_SUCH_CHUNK: Final = _refused("FA3102", "A blob has no such chunk", "blob {blob} has no chunk {index}")
CHUNK_SIZE: Final = _refused(
    "FA3103",
    "A chunk is too long or too short",
    "chunk {index} of blob {blob} has {bytes} bytes, not {needed}",
)
CHUNK_DIGEST: Final = _refused(
    "FA3104",
    "A chunk is not what its manifest says",
    "chunk {index} of blob {blob} is not what its manifest says",
)
WRONG_CHUNK: Final = _refused(
    "FA3105", "A site sent a wrong chunk", "site {site}, study {study}: wrong chunk {index} ({reason})"
)
NOT_THE_MANIFEST: Final = _refused(
    "FA3106", "A manifest is not the announced one", "not the manifest of blob {blob}"
)
BLOB_SIZE: Final = _refused(
    "FA3107",
    "A blob has another size than announced",
    "blob {blob} has another size than announced ({bytes} bytes, announced are {announced})",
)
WANTED_IS_ABSENT: Final = _refused(
    "FA3108", "A site asks for what is not here", "a site asks for what is not here: {reason}"
)

# --- models and who may say what

NO_TENSORS: Final = _refused("FA3301", "A file of tensors is empty", "the file of tensors is empty")
MODEL_SIZE: Final = _refused(
    "FA3302",
    "A model is announced with a wrong size",
    "a model of this task has {expected} bytes, announced are {announced}",
)
MODEL_FILE_SIZE: Final = _refused(
    "FA3303",
    "A model's file has another size than announced",
    "the model's file has {size} bytes, announced are {announced}",
)
MODEL_TENSORS: Final = _refused(
    "FA3304",
    "A model has other tensors than its task",
    "the model's tensors are not those of the study's task",
)
MODEL_BLOB: Final = _refused(
    "FA3305",
    "A model's bytes are not the announced ones",
    "the model's bytes are not those of the announced blob",
)
MODEL_PLAINTEXT: Final = _refused(
    "FA3306", "A decrypted model is not the announced one", "the decrypted model is not the announced one"
)

MESSAGE_REFUSED: Final = _refused(
    "FA3601", "A message was refused; it changed nothing", "refused a message on {topic}: {reason}"
)
FOR_ANOTHER_SITE: Final = _refused(
    "FA3602", "A message is for another site", "the message is for another site"
)
NOT_FROM_THE_AGGREGATOR: Final = _refused(
    "FA3603", "Somebody but the aggregator speaks to a site", "only the aggregator speaks to a site"
)
NOT_FROM_A_SITE: Final = _refused(
    "FA3604", "A site sends what sites do not send", "a site does not send {kind}"
)
NO_SUCH_CHUNKS: Final = _refused(
    "FA3605", "A site wants chunks that a model does not have", "the model does not have that many chunks"
)
NOT_IN_SPOOL: Final = _refused(
    "FA3700",
    "The aggregator wants an update that is not here",
    "the aggregator wants chunks of {blob}, which is not in the spool",
)
UPDATE_SHAPE: Final = _refused(
    "FA3701",
    "An update is handed over in another shape",
    "{count} descriptors, chunks of {chunk_bytes} bytes",
)
UPDATE_SIZE: Final = _refused(
    "FA3702", "An update has another size than its study's", "the memfd has {size} bytes, needed are {needed}"
)
