"""The same model decoded here and by transformers' `generate`: the same tokens and scores."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
)

from heed.decoding.beam import BeamDecoder
from heed.decoding.greedy import GreedyDecoder

VOCABULARY, SENTENCES, LIMIT = 41, 7, 13


class Recomputed:
    """A step that keeps what was written and runs the whole decoder over it each time."""

    def __init__(self, model, source: torch.Tensor, mask: torch.Tensor) -> None:
        self.model, self.mask = model, mask
        self.memory = model.get_encoder()(input_ids=source, attention_mask=mask).last_hidden_state
        self.written = torch.empty(len(source), 0, dtype=torch.long)

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        self.written = torch.cat([self.written, tokens[:, None]], dim=1)
        output = self.model(
            encoder_outputs=(self.memory,),
            attention_mask=self.mask,
            decoder_input_ids=self.written,
            use_cache=False,
        )
        return output.logits[:, -1].clone()

    def reorder(self, rows: torch.Tensor) -> None:
        self.memory, self.mask = self.memory[rows], self.mask[rows]
        self.written = self.written[rows]


def tiny_t5():
    config = T5Config(
        vocab_size=VOCABULARY,
        d_model=16,
        d_kv=4,
        d_ff=23,
        num_layers=2,
        num_heads=4,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
        tie_word_embeddings=False,
    )
    model = T5ForConditionalGeneration(config)
    return model, {"bos_id": 0, "eos_id": 1, "pad_id": 0}, [0]


def tiny_bart():
    config = BartConfig(
        vocab_size=VOCABULARY,
        d_model=16,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=23,
        decoder_ffn_dim=23,
        max_position_embeddings=64,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=3,
        forced_eos_token_id=None,
    )
    model = BartForConditionalGeneration(config)
    return model, {"bos_id": 3, "eos_id": 2, "pad_id": 1}, [1, 3]


@pytest.fixture(
    scope="module", params=[(tiny_t5, 43, 2.0), (tiny_bart, 25, 3.0)], ids=["t5", "bart"]
)
def world(request):
    make, seed, eos_scale = request.param
    torch.manual_seed(seed)
    model, ids, never = make()
    model.eval()
    with torch.no_grad():  # wide weights, or every row loops on one token
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.5)
        model.get_output_embeddings().weight[ids["eos_id"]] *= eos_scale
    source = torch.randint(4, VOCABULARY, (SENTENCES, 5))
    mask = torch.ones_like(source)
    mask[1, 3:] = 0
    mask[4, 2:] = 0
    return model, source, mask, ids, never


def generated(world, **options):
    model, source, mask, ids, never = world
    with torch.no_grad():
        output = model.generate(
            input_ids=source,
            attention_mask=mask,
            suppress_tokens=never,
            max_new_tokens=LIMIT,
            return_dict_in_generate=True,
            output_scores=True,
            do_sample=False,
            **options,
        )
    outputs = []
    for row in output.sequences[:, 1:].tolist():
        end = row.index(ids["eos_id"]) if ids["eos_id"] in row else len(row)
        outputs.append([token for token in row[:end] if token != ids["pad_id"]])
    return outputs, getattr(output, "sequences_scores", None)


def decoded(world, decoder):
    model, source, mask, ids, _ = world
    with torch.no_grad():
        step = Recomputed(model, source, mask)
        return decoder(step, batch_size=SENTENCES, max_length=LIMIT, **ids)


def not_vacuous(outputs) -> None:
    lengths = {len(one) for one in outputs}
    assert len(lengths) > 1, f"some should end early, some late: {lengths}"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, {}),
        ({"no_repeat_ngram_size": 2}, {"no_repeat_ngram_size": 2}),
        ({"min_length": 4}, {"min_new_tokens": 4}),
    ],
)
def test_greedy_search(world, ours, theirs):
    outputs, _ = generated(world, num_beams=1, **theirs)
    not_vacuous(outputs)
    assert [one.tokens for (one,) in decoded(world, GreedyDecoder(**ours))] == outputs


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"length_penalty": 1.0}, {}),
        ({"length_penalty": 0.0}, {}),
        ({"length_penalty": 0.6, "n_best": 4}, {}),
        ({"length_penalty": 2.0, "n_best": 3}, {}),
        ({"length_penalty": -1.0, "n_best": 3}, {}),
        ({"no_repeat_ngram_size": 2, "n_best": 2}, {"no_repeat_ngram_size": 2}),
        ({"min_length": 4, "n_best": 4}, {"min_new_tokens": 4}),
        ({"length_penalty": 1.0, "n_best": 4, "early_stopping": True}, {"early_stopping": True}),
    ],
)
def test_beam_search(world, ours, theirs):
    n_best = ours.get("n_best", 1)
    # "never" is the exact rule of transformers; its default is a heuristic.
    theirs = {"early_stopping": "never", **theirs}
    outputs, scores = generated(
        world,
        num_beams=4,
        num_return_sequences=n_best,
        length_penalty=ours.get("length_penalty", 1.0),
        **theirs,
    )
    found = decoded(world, BeamDecoder(beam_size=4, **ours))
    hypotheses = [one for sentence in found for one in sentence]
    assert [one.tokens for one in hypotheses] == outputs
    torch.testing.assert_close(
        torch.tensor([one.score for one in hypotheses]), scores, rtol=1e-4, atol=1e-5
    )
    not_vacuous(outputs)
