"""Batches: padding, layout, travel, and which examples they hold."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from heed.data.batch import PairBatch, SpanBatch, TextBatch, Tokens

ROWS = [[5, 6, 7], [8], [9, 10, 11, 12, 13], [14, 15]]


def test_tokens_are_padded_as_torch_pads_them() -> None:
    tokens = Tokens.padded(ROWS, pad_id=3)

    expected = pad_sequence([torch.tensor(row) for row in ROWS], True, padding_value=3)
    assert torch.equal(tokens.ids, expected)
    assert tokens.ids.dtype == torch.int64
    assert tokens.layout.lengths.tolist() == [3, 1, 5, 2]
    assert torch.equal(tokens.ids[tokens.layout.mask()], torch.tensor(sum(ROWS, [])))
    assert (tokens.real_tokens, tokens.token_positions, len(tokens)) == (11, 20, 4)
    assert not tokens.layout.full


def test_numpy_rows_pad_like_lists_and_equal_lengths_need_no_mask() -> None:
    rows = [np.array(row, dtype=np.int32) for row in ([1, 2], [3, 4], [5, 6])]
    tokens = Tokens.padded(rows, pad_id=0)

    assert tokens.ids.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert tokens.layout.full


def test_empty_rows_are_all_padding() -> None:
    tokens = Tokens.padded([[], []], pad_id=7)

    assert tokens.ids.tolist() == [[7], [7]]
    assert tokens.real_tokens == 0


def test_real_tokens_are_counted_from_the_layout_when_not_given() -> None:
    padded = Tokens.padded(ROWS, pad_id=0)

    assert Tokens(padded.ids, padded.layout).real_tokens == 11


def test_a_pair_batch_counts_both_sides() -> None:
    source, target = Tokens.padded(ROWS, 0), Tokens.padded([[1, 2]] * 4, 0)

    whole = PairBatch(source=source, target=target, records=None, indices=[3, 1, 4, 5])
    assert (whole.real_tokens, whole.token_positions, len(whole)) == (11 + 8, 20 + 8, 4)

    unanswered = PairBatch(source=source, target=None, records=None, indices=[3, 1, 4, 5])
    assert (unanswered.real_tokens, unanswered.token_positions) == (11, 20)


def span_batch() -> SpanBatch:
    return SpanBatch(
        tokens=Tokens.padded(ROWS, 0),
        passage_mask=torch.zeros(4, 5, dtype=torch.bool),
        starts=torch.tensor([0, 0, 1, 0]),
        ends=None,
        offsets=torch.zeros(4, 5, 2, dtype=torch.int64),
        records=[{"id": "a"}, {"id": "b"}, {"id": "b"}, {"id": "c"}],
        indices=[7, 2, 2, 5],
    )


def test_every_tensor_of_a_batch_travels_and_the_rest_stays() -> None:
    batch = span_batch()
    moved = batch.to("meta", non_blocking=True)

    tensors = (moved.tokens.ids, moved.tokens.layout.lengths, moved.passage_mask, moved.offsets)
    assert all(tensor.device.type == "meta" for tensor in tensors if tensor is not None)
    assert moved.starts is not None
    assert moved.starts.device.type == "meta"
    assert moved.ends is None
    assert moved.records is batch.records
    assert moved.real_tokens == 11  # known without asking the device
    assert batch.tokens.ids.device.type == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="page-locked memory needs a GPU")
def test_every_tensor_of_a_batch_is_pinned() -> None:
    batch = span_batch().pin_memory()

    assert batch.tokens.ids.is_pinned()
    assert batch.tokens.layout.lengths.is_pinned()
    assert batch.passage_mask.is_pinned()


def test_examples_are_the_different_records_in_order() -> None:
    assert span_batch().examples == [(7, {"id": "a"}), (2, {"id": "b"}), (5, {"id": "c"})]


def test_a_batch_comes_back_from_a_worker_process_unchanged() -> None:
    tokens = Tokens.padded(ROWS, 0)
    batch = TextBatch(tokens, torch.arange(4), records=[{"text": "x"}] * 4, indices=[0, 1, 2, 3])
    copy = pickle.loads(pickle.dumps(batch))  # what torch's workers do

    assert torch.equal(copy.tokens.ids, tokens.ids)
    assert torch.equal(copy.labels, torch.arange(4))
    assert copy.tokens.layout.width == tokens.layout.width
    assert (copy.real_tokens, copy.indices) == (11, [0, 1, 2, 3])
