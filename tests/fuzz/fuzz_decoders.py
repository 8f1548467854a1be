# SPDX-License-Identifier: Apache-2.0
"""Fuzzes every decoder of bytes from a peer; all that any of them may raise is ``WireError``.

The first byte of an input chooses the decoder, the rest is what it gets. The golden bytes are the corpus. Ends after
FUZZ_SECONDS (default 60) with the number of executions and exit code 0, or at the first other error with the input.
Options and further corpus folders are libFuzzer's: https://llvm.org/docs/LibFuzzer.html.
"""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import atheris

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

with atheris.instrument_imports(include=["fedagent"]):
    from fedagent.errors import WireError
    from fedagent.security.blob import BlobCipher, plaintext_bytes
    from fedagent.security.certificates import Trust
    from fedagent.security.envelope import sign, verify
    from fedagent.security.identity import parse_uri
    from fedagent.security.mail import open_mail
    from fedagent.security.sealing import seal, unseal
    from fedagent.wire import frames, messages
    from fedagent.wire.codec import decode
    from fedagent.wire.manifest import Manifest
    from fedagent.wire.study import Study
    from fedagent.wire.tensors import encode_header, parse_header
    from fedagent.wire.topics import CONTROL_BYTES, OFFER_BYTES, aggregator_topic, round_topic, site_topic

from tests.fakes.certificates import NOW, FakeAuthority  # noqa: E402  # a program: pytest did not set its path

CORPUS = ROOT / "build" / "fuzz" / "golden"
GOLDEN = ROOT / "tests" / "data" / "golden"
"""Of every protocol version: what an older peer sends is an input too."""

AUTHORITY = FakeAuthority()
TRUST: Trust = AUTHORITY.trust
SITE, CENTRE = AUTHORITY.site("clinic-a"), AUTHORITY.aggregator()
KEY = bytes(range(32))
STUDY = "heart-1"

SITE_TOPICS = [site_topic("clinic-a", kind) for kind in ("presence", "instance", "hello")] + [
    site_topic("clinic-a", kind, STUDY)
    for kind in ("join", "want", "manifest", "progress", "decline", "chunk")
]
CENTRE_TOPICS = [round_topic(STUDY), *(aggregator_topic("clinic-a", kind) for kind in ("hello", "twin"))] + [
    aggregator_topic("clinic-a", kind, STUDY)
    for kind in ("model-key", "grant", "receipt", "refusal", "cancel")
]
KINDS: tuple[Any, ...] = (
    frames.DaemonFrame,
    frames.SupervisorFrame,
    frames.SupervisorToWorker,
    frames.WorkerFrame,
    Manifest,
    Study,
    messages.UpdateSecret,
)


def signed_mail(topic: str) -> Callable[[bytes], object]:
    """The message decoder behind a good signature: it must not trust what is signed."""
    signer = SITE if topic in SITE_TOPICS else CENTRE

    def run(data: bytes) -> object:
        payload = sign(data, topic=topic, sequence=1, signer=signer)
        return open_mail(payload, topic=topic, trust=TRUST, now=NOW)

    return run


def struct(kind: type[Any]) -> Callable[[bytes], object]:
    return lambda data: decode(data, kind, limit_bytes=OFFER_BYTES)


def mail(data: bytes) -> object:
    """An envelope as it comes from the broker, on any topic."""
    topic, _, payload = data.partition(b"\n")
    return open_mail(payload, topic=topic.decode("utf-8", "replace"), trust=TRUST, now=NOW)


def envelope(data: bytes) -> object:
    return verify(data, topic=SITE_TOPICS[0], trust=TRUST, now=NOW, limit_bytes=CONTROL_BYTES)


def certificate(data: bytes) -> object:
    return TRUST.identify(data, NOW)


def identity(data: bytes) -> object:
    return parse_uri(data.decode("utf-8", "replace"))


def tensors(data: bytes) -> object:
    return parse_header(data, len(data))


def secret(data: bytes) -> object:
    return unseal(KEY, data, context=b"")


def public_key(data: bytes) -> object:
    return seal(data, b"secret", context=b"")


def chunk(data: bytes) -> object:
    plaintext_bytes(len(data), 65_536)
    return BlobCipher(KEY).decrypt(0, last=True, chunk=data)


DECODERS: list[Callable[[bytes], object]] = [
    *map(signed_mail, SITE_TOPICS + CENTRE_TOPICS),
    *map(struct, KINDS),
    mail,
    envelope,
    certificate,
    identity,
    tensors,
    secret,
    public_key,
    chunk,
]


def one_input(data: bytes) -> None:
    """What libFuzzer calls."""
    if data:
        with suppress(WireError):
            DECODERS[data[0] % len(DECODERS)](data[1:])


def write_corpus(folder: Path) -> None:
    """Every golden value for every decoder that could take it, and one good input of each other kind."""
    values = [bytes.fromhex(path.read_text("ascii")) for path in sorted(GOLDEN.glob("*/*.hex"))]
    good = sign(values[0], topic=SITE_TOPICS[0], sequence=1, signer=SITE)
    header = encode_header({"a": (2, 3), "b": ()})
    values += [
        good,
        SITE_TOPICS[0].encode() + b"\n" + good,
        SITE.certificate,
        b"fedagent:site/clinic-a",
        header,
    ]
    values.append(header + bytes(28))
    for number in range(len(DECODERS)):
        for index, value in enumerate(values):
            (folder / f"{number:03}-{index:03}").write_bytes(bytes([number]) + value)


def main() -> None:
    """Runs libFuzzer, which ends this process itself."""
    CORPUS.mkdir(parents=True, exist_ok=True)
    write_corpus(CORPUS)
    seconds = int(os.environ.get("FUZZ_SECONDS", "60"))
    atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", *sys.argv[1:], str(CORPUS)], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
