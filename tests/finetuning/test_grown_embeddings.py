"""Tables with rows for further tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from heed.finetuning.grown_embeddings import NewRows, grow_embeddings, with_new_rows
from heed.heads.masked import MaskedTokenHead
from heed.heads.vocabulary import VocabularyHead

PIECES = {31: [3, 5], 32: []}
IDS = torch.arange(10).reshape(2, 5)


def test_a_new_row_is_the_mean_of_its_pieces_and_old_rows_stay() -> None:
    table = torch.randn(31, 7)
    grown = with_new_rows(table, NewRows(33, PIECES))
    assert grown.shape == (33, 7)
    assert grown[:31].equal(table)
    torch.testing.assert_close(grown[31], (table[3] + table[5]) / 2)
    torch.testing.assert_close(grown[32], table.mean(0))
    torch.testing.assert_close(with_new_rows(table, NewRows(32))[31], table.mean(0))


def test_a_row_that_was_spare_is_filled_and_nothing_shrinks() -> None:
    table = torch.randn(40, 7)
    grown = with_new_rows(table, NewRows(33, PIECES))
    assert grown.shape == table.shape
    torch.testing.assert_close(grown[31], (table[3] + table[5]) / 2)
    others = [row for row in range(40) if row not in PIECES]
    assert grown[others].equal(table[others])


@pytest.mark.parametrize("tie", ["all", "decoder", "none"])
def test_tables_stay_shared_and_known_texts_give_the_same(
    make_model: Callable[..., Any], tie: str
) -> None:
    model = make_model("encoder_decoder", tie_embeddings=tie).eval()
    head = VocabularyHead(d_model=14, vocabulary_size=31, tied=model.output_embedding, bias=True)
    nn.init.normal_(head.output.bias)
    hidden = model.features(IDS)
    before = head(hidden)
    rows = NewRows(33, PIECES)
    grow_embeddings(model, head, source=rows, target=rows)
    encoder, decoder = model.encoder.embeddings.tokens, model.decoder.embeddings.tokens
    assert (encoder is decoder) == (tie == "all")
    assert (head.output.weight is decoder.weight) == (tie != "none")
    assert model.features(IDS).equal(hidden)
    assert head(hidden)[..., :31].equal(before)
    torch.testing.assert_close(head(hidden)[..., 31], before[..., [3, 5]].mean(-1))
    assert {encoder.num_embeddings, head.output.out_features, model.vocabulary_size} == {33}
    names = {name for name, _ in nn.ModuleDict({"m": model, "h": head}).named_parameters()}
    assert ("h.output.weight" in names) == (tie == "none")
    assert model.features(IDS + 23).shape == hidden.shape  # the new tokens can be read


def test_each_side_has_its_own_rows(make_model: Callable[..., Any]) -> None:
    model = make_model("encoder_decoder", tie_embeddings="decoder", target_vocabulary_size=29)
    head = VocabularyHead(d_model=14, vocabulary_size=29, tied=model.output_embedding)
    table = model.decoder.embeddings.tokens.weight.detach().clone()
    grow_embeddings(model, head, source=NewRows(32, {31: [1]}), target=NewRows(30, {29: [2]}))
    assert model.encoder.embeddings.tokens.weight.shape[0] == 32
    assert head.output.weight.shape[0] == 30
    assert head.output.weight[29].equal(table[2])


def test_a_head_of_hidden_tokens_grows_with_the_table(make_model: Callable[..., Any]) -> None:
    model = make_model("encoder").eval()
    head = MaskedTokenHead(d_model=14, vocabulary_size=31, tied=model.output_embedding)
    nn.init.normal_(head.vocabulary.output.bias)
    hidden = model.features(IDS)
    before = head(hidden)
    grow_embeddings(model, head, source=NewRows(33, PIECES), target=NewRows(33, PIECES))
    assert head.vocabulary.output.weight is model.encoder.embeddings.tokens.weight
    assert head(hidden)[..., :31].equal(before)
    torch.testing.assert_close(head(hidden)[..., 31], before[..., [3, 5]].mean(-1))


def test_other_heads_are_left_alone(make_task: Callable[..., nn.ModuleDict]) -> None:
    task = make_task("encoder")
    head = task["head"].weight
    rows = NewRows(33, PIECES)
    grow_embeddings(task["backbone"], task["head"], source=rows, target=rows)
    assert task["head"].weight is head
    assert task["backbone"].encoder.embeddings.tokens.weight.shape[0] == 33
