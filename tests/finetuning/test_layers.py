"""Words for parts of a model, and how deep its parameters lie."""

from __future__ import annotations

import pytest

from heed.backbone.transformer import Transformer
from heed.errors import UserError
from heed.finetuning.layers import check_word, depth_of, parts_of, top_layers, within

BOTH = {"encoder": 3, "decoder": 2}


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("all", [""]),
        ("embeddings", ["encoder.embeddings.", "decoder.embeddings."]),
        ("decoder", ["decoder."]),
        ("encoder.1", ["encoder.layers.1."]),
        ("encoder.1-2", ["encoder.layers.1.", "encoder.layers.2."]),
    ],
)
def test_a_word_means_parts(word: str, parts: list[str]) -> None:
    check_word(word, key="k")
    assert parts_of(word, BOTH, key="k") == parts


@pytest.mark.parametrize(
    ("word", "fault"),
    [
        ("encoder.0-3", "k names 'encoder.0-3', but the encoder has 3 layers, 0 to 2"),
        ("encoder.2-1", "the encoder has 3 layers"),
        ("layers", "k names 'layers', which is no part of the model; there is all, embeddings, "),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(word: str, fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        parts_of(word, BOTH, key="k")
    with pytest.raises(UserError, match="decoder.0', which is no part of the model"):
        parts_of("decoder.0", {"encoder": 3}, key="k")


def test_a_word_of_no_model_gets_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'embeddings'"):
        check_word("embedings", key="k")
    with pytest.raises(UserError, match="it may name all, embeddings, encoder, decoder"):
        check_word("7", key="k")


def test_top_layers_are_the_last_of_the_last_stack() -> None:
    assert top_layers(1, BOTH, key="k") == ["decoder.layers.1."]
    assert top_layers(2, {"encoder": 3}, key="k") == ["encoder.layers.1.", "encoder.layers.2."]
    with pytest.raises(UserError, match="k must be at most 2, the layers of the decoder, but is 3"):
        top_layers(3, BOTH, key="k")


def test_every_parameter_of_a_real_model_has_its_depth() -> None:
    model = Transformer(
        shape="encoder_decoder",
        vocabulary_size=31,
        d_model=14,
        n_heads=2,
        d_feed_forward=19,
        n_layers=3,
        n_decoder_layers=2,
        norm_position="pre",
        positions="relative",
    )
    depths: dict[str, int] = {}
    for name, _ in model.named_parameters(remove_duplicate=False):
        words = name.split(".")
        part = ".".join(words[:3] if words[1] == "layers" else words[:2])
        depths[part] = depth_of(name, BOTH)
        assert depth_of(name, BOTH) == depths[part]
    assert depths == {
        "encoder.embeddings": 0,
        "encoder.position_bias": 0,
        **{f"encoder.layers.{i}": i + 1 for i in range(3)},
        "encoder.norm": 3,
        "decoder.embeddings": 0,
        "decoder.position_bias": 0,
        **{f"decoder.layers.{i}": i + 4 for i in range(2)},
        "decoder.norm": 5,
    }


def test_a_layer_is_not_one_whose_number_begins_like_it() -> None:
    (part,) = parts_of("encoder.1", {"encoder": 12}, key="k")
    assert within("encoder.layers.1.feed_forward.input.weight", [part])
    assert not within("encoder.layers.11.feed_forward.input.weight", [part])
