# SPDX-License-Identifier: Apache-2.0
"""A blob's chunks count only whole, unaltered, in their place, under their key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedagent.errors import WireError
from fedagent.security.blob import TAG_BYTES, BlobCipher, ciphertext_bytes, new_blob_key, plaintext_bytes

CHUNK = 64
KEY = bytes(range(32))


def encrypt(data: bytes, key: bytes = KEY) -> list[bytes]:
    step = CHUNK - TAG_BYTES
    parts = [data[begin : begin + step] for begin in range(0, len(data), step)]
    cipher = BlobCipher(key)
    return [cipher.encrypt(i, last=i == len(parts) - 1, chunk=part) for i, part in enumerate(parts)]


def decrypt(chunks: list[bytes], key: bytes = KEY) -> bytes:
    cipher = BlobCipher(key)
    last = len(chunks) - 1
    return b"".join(cipher.decrypt(i, last=i == last, chunk=chunk) for i, chunk in enumerate(chunks))


@given(st.binary(max_size=500))
def test_what_was_encrypted_comes_back(data: bytes) -> None:
    chunks = encrypt(data)
    assert decrypt(chunks) == data
    assert sum(map(len, chunks)) == ciphertext_bytes(len(data), CHUNK)
    assert all(len(chunk) == CHUNK for chunk in chunks[:-1])


@given(size=st.integers(0, 2**34), chunk_bytes=st.sampled_from((65_536, 262_144, 1_048_576)))
def test_sizes_are_each_others_inverse(size: int, chunk_bytes: int) -> None:
    assert plaintext_bytes(ciphertext_bytes(size, chunk_bytes), chunk_bytes) == size


@pytest.mark.parametrize("size", [1, 16, 65_537, 65_536 + 16])
def test_a_size_that_no_plaintext_gives_is_refused(size: int) -> None:
    with pytest.raises(WireError, match="no blob has"):
        plaintext_bytes(size, 65_536)


@given(data=st.data(), size=st.integers(49, 400))
def test_reordered_chunks_are_refused(data: st.DataObject, size: int) -> None:
    chunks = encrypt(bytes(size))
    order = data.draw(st.permutations(range(len(chunks))).filter(lambda order: list(order) != sorted(order)))
    with pytest.raises(WireError):
        decrypt([chunks[index] for index in order])


@given(data=st.data(), size=st.integers(49, 400))
def test_a_blob_cut_short_is_refused(data: st.DataObject, size: int) -> None:
    chunks = encrypt(bytes(size))
    kept = data.draw(st.integers(1, len(chunks) - 1))
    with pytest.raises(WireError):
        decrypt(chunks[:kept])


@given(size=st.integers(1, 400))
def test_a_blob_made_longer_is_refused(size: int) -> None:
    chunks = encrypt(bytes(size))
    with pytest.raises(WireError):
        decrypt([*chunks, chunks[-1]])


@given(data=st.data(), size=st.integers(1, 400))
def test_a_chunk_of_another_blob_is_refused(data: st.DataObject, size: int) -> None:
    chunks, other = encrypt(bytes(size)), encrypt(bytes(size), key=bytes(32))
    index = data.draw(st.integers(0, len(chunks) - 1))
    with pytest.raises(WireError):
        decrypt([*chunks[:index], other[index], *chunks[index + 1 :]])


@given(data=st.data(), size=st.integers(1, 200))
def test_an_altered_byte_is_refused(data: st.DataObject, size: int) -> None:
    chunks = [bytearray(chunk) for chunk in encrypt(bytes(size))]
    chunk = data.draw(st.sampled_from(chunks))
    chunk[data.draw(st.integers(0, len(chunk) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(WireError):
        decrypt([bytes(each) for each in chunks])


@pytest.mark.parametrize("size", range(TAG_BYTES + 1))
def test_a_chunk_without_room_for_its_tag_and_a_byte_is_refused(size: int) -> None:
    with pytest.raises(WireError, match=r"chunks\[3\]"):
        BlobCipher(KEY).decrypt(3, last=True, chunk=bytes(size))


def test_an_error_names_the_chunk() -> None:
    with pytest.raises(WireError) as caught:
        BlobCipher(KEY).decrypt(3, last=True, chunk=bytes(40))
    assert caught.value.path == "$.chunks[3]"


@pytest.mark.parametrize("key", [b"", bytes(16), bytes(33)])
def test_a_key_of_another_length_is_refused(key: bytes) -> None:
    with pytest.raises(WireError, match="32 bytes"):
        BlobCipher(key)


def test_each_blob_has_a_key_of_its_own() -> None:
    assert len({new_blob_key() for _ in range(10)}) == 10
    assert len(new_blob_key()) == 32
