"""Token ids in two arrays: all that goes in comes out, as what an engine takes."""

import hashlib
import json
import pickle
import struct
import tracemalloc
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_loadgen.prompts import MOST_ID, Prompts

IDS = st.lists(st.lists(st.integers(0, MOST_ID), max_size=20), max_size=20)


@given(IDS)
def test_every_id_comes_back(prompts):
    packed = Prompts.of(prompts)
    assert list(map(list, packed)) == prompts
    assert [len(prompt) for prompt in packed] == packed.lengths.tolist() == list(map(len, prompts))
    assert len(packed) == len(prompts)
    assert bool(packed) == bool(prompts)


@given(IDS)
def test_every_id_comes_through_a_pipe(prompts):
    sent = pickle.loads(ForkingPickler.dumps(Prompts.of(prompts)))
    assert list(map(list, sent)) == prompts
    assert (sent.ids.dtype, sent.offsets.dtype) == (np.int32, np.int64)


@given(IDS.filter(bool), st.data())
def test_some_of_them_by_number(prompts, data):
    packed = Prompts.of(prompts)
    number = data.draw(st.integers(-len(prompts), len(prompts) - 1))
    assert list(packed[number]) == prompts[number]
    some = data.draw(st.slices(len(prompts)))
    assert list(map(list, packed[some])) == prompts[some]
    for beyond in (len(prompts), -len(prompts) - 1):
        with pytest.raises(IndexError):
            packed[beyond]


def test_a_prompt_is_what_engines_take():
    prompt = Prompts.of([[1, 2], [MOST_ID, 3, 5]])[1]
    assert json.dumps(list(prompt)) == f"[{MOST_ID}, 3, 5]"  # of numpy's numbers it has no idea
    assert [*prompt[1:], *prompt[:1]] == [3, 5, MOST_ID]
    assert {type(one) for one in (*prompt, prompt[0], max(prompt))} == {int}
    assert not Prompts.of([[]])[0]


def test_a_hash_is_of_every_id_and_of_where_a_prompt_begins():
    """By hand: int64 offsets, then int32 ids, both little-endian."""
    by_hand = struct.pack("<3q", 0, 2, 3) + struct.pack("<3i", 7, 8, 9)
    assert Prompts.of([[7, 8], [9]]).sha256 == hashlib.sha256(by_hand).hexdigest()
    others = ([[7, 8], [1]], [[7], [8, 9]])
    assert len({Prompts.of(one).sha256 for one in ([[7, 8], [9]], *others)}) == 3


def test_what_is_packed_is_not_packed_again():
    packed = Prompts.of([[1]])
    assert Prompts.of(packed) is packed


def test_an_id_of_more_than_32_bits_is_none():
    with pytest.raises(OverflowError):
        Prompts.of([[1, MOST_ID + 1]])


def test_a_million_ids_take_four_bytes_each():
    def made():
        for _ in range(1000):
            yield list(range(1000, 2000))

    tracemalloc.start()
    try:
        packed = Prompts.of(made())
        kept, fullest = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(packed.ids) == 10**6
    assert kept < 4.1e6
    assert fullest < 10e6  # the prompts that went in are not kept
    assert len(ForkingPickler.dumps(packed)) < 4.1e6
    tracemalloc.start()
    try:
        assert sum(len(prompt) for prompt in packed) == 10**6
        assert tracemalloc.get_traced_memory()[1] < 1e5  # a prompt that is read is a view
    finally:
        tracemalloc.stop()
