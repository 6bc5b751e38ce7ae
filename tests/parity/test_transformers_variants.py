"""The variants of blocks, each in a model of transformers that has it, with its weights copied in.

Legend: see `copied_weights`; K head width.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.parity.copied_weights import (
    LAYERS,
    LONGEST,
    SIZES,
    SOURCE,
    TARGET,
    D,
    F,
    H,
    S,
    T,
    V,
    compare_decoder,
    ids,
    put,
    put_table,
    randomize,
)
from torch import Tensor, nn

from heed.backbone.attention import MultiHeadAttention
from heed.backbone.feed_forward import FeedForward
from heed.backbone.frequencies import scaled_frequencies
from heed.backbone.position_bias import BucketBias, alibi_slopes
from heed.backbone.stack import Stack
from heed.backbone.transformer import Transformer
from heed.heads.vocabulary import VocabularyHead

transformers = pytest.importorskip("transformers")

SHAPE: dict[str, Any] = {
    "vocab_size": V,
    "hidden_size": D,
    "intermediate_size": F,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": H,
    "max_position_embeddings": LONGEST,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
LLAMA_KIND: dict[str, Any] = {
    "shape": "decoder",
    "positions": "rotary",
    "norm": "rms_norm",
    "norm_epsilon": 1e-6,
    "bias": False,
}


def put_norm(ours: nn.Module, theirs: nn.Module, *, plus: float = 0.0) -> None:
    with torch.no_grad():
        ours.weight.copy_(theirs.weight + plus)
        if getattr(ours, "bias", None) is not None:
            ours.bias.copy_(theirs.bias)


def put_projections(
    attention: MultiHeadAttention, query: Tensor, key: Tensor, value: Tensor, output: Tensor
) -> None:
    with torch.no_grad():
        if attention.cross:
            attention.query.weight.copy_(query)
            attention.key_value.weight.copy_(torch.cat((key, value)))
        else:
            attention.qkv.weight.copy_(torch.cat((query, key, value)))
        attention.output.weight.copy_(output)


def put_gated(network: FeedForward, gate: nn.Module, value: nn.Module, output: nn.Module) -> None:
    put(network.input, gate, value)
    put(network.output, output)


@pytest.mark.parametrize(
    ("scaling", "parameters"),
    [
        ("linear", {"rope_type": "linear", "factor": 3.0}),
        (
            "llama3",
            {
                "rope_type": "llama3",
                "factor": 3.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 11,
            },
        ),
    ],
)
def test_scaled_rotary_positions(scaling: Any, parameters: dict[str, Any]) -> None:
    config = transformers.LlamaConfig(
        **SHAPE, rope_parameters={"rope_theta": 97.0, **parameters}, rms_norm_eps=1e-6
    )
    theirs = randomize(transformers.LlamaModel(config))
    ours = Transformer(
        norm_position="pre",
        activation="swiglu",
        rotary_base=97.0,
        rotary_scaling=scaling,
        rotary_factor=3.0,
        rotary_original_length=11,
        **LLAMA_KIND,
        **SIZES,
    )
    plain = scaled_frequencies(D // H, 97.0)
    assert ours.decoder is not None
    assert ours.decoder.rotary is not None
    assert not torch.allclose(ours.decoder.rotary.frequencies, plain)
    put_llama_like(ours.decoder, theirs)
    compare_decoder(ours, theirs)


def put_llama_like(stack: Stack, theirs: nn.Module) -> None:
    put_table(stack, theirs.embed_tokens, None)
    put_norm(stack.norm, theirs.norm)
    for block, layer in zip(stack.layers, theirs.layers, strict=True):
        attention = layer.self_attn
        put(block.self_attention.qkv, attention.q_proj, attention.k_proj, attention.v_proj)
        put(block.self_attention.output, attention.o_proj)
        put_gated(block.feed_forward, layer.mlp.gate_proj, layer.mlp.up_proj, layer.mlp.down_proj)
        put_norm(block.self_attention_residual.norm, layer.input_layernorm)
        put_norm(block.feed_forward_residual.norm, layer.post_attention_layernorm)


def test_ntk_is_the_dynamic_scaling_of_a_row_as_long_as_the_factor_allows() -> None:
    """transformers raises the base by (f n / L - (f - 1))^(d / (d - 2)), which for a row of
    n = L (2 f - 1) / f positions is the factor itself.
    """
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    factor, longest = 3.0, 300
    config = transformers.LlamaConfig(
        **{**SHAPE, "max_position_embeddings": longest},
        rope_parameters={"rope_type": "dynamic", "factor": factor, "rope_theta": 97.0},
    )
    length = longest * (2 * factor - 1) / factor
    expected, _ = ROPE_INIT_FUNCTIONS["dynamic"](config, "cpu", seq_len=int(length))
    found = scaled_frequencies(D // H, 97.0, scaling="ntk", factor=factor)
    torch.testing.assert_close(found, expected)


def test_normalised_queries_and_keys() -> None:
    """Qwen3: grouped heads too."""
    config = transformers.Qwen3Config(**SHAPE, num_key_value_heads=1, head_dim=8, rms_norm_eps=1e-6)
    theirs = randomize(transformers.Qwen3Model(config))
    ours = Transformer(
        norm_position="pre",
        activation="swiglu",
        qk_norm=True,
        n_kv_heads=1,
        head_width=8,
        **LLAMA_KIND,
        **SIZES,
    )
    assert ours.decoder is not None
    put_llama_like(ours.decoder, theirs)
    for block, layer in zip(ours.decoder.layers, theirs.layers, strict=True):
        put_norm(block.self_attention.query_norm, layer.self_attn.q_norm)
        put_norm(block.self_attention.key_norm, layer.self_attn.k_norm)
    compare_decoder(ours, theirs)


@pytest.mark.parametrize("window", [LONGEST, 2])
def test_gemma2(window: int) -> None:
    """Sandwich norms, both soft caps, GEGLU, scaled embeddings; norms that are stored less one;
    every other layer sees no further than a window, in which a token counts itself.
    """
    config = transformers.Gemma2Config(
        **SHAPE,
        num_key_value_heads=1,
        head_dim=8,
        rms_norm_eps=1e-6,
        query_pre_attn_scalar=5,
        attn_logit_softcapping=2.0,
        final_logit_softcapping=3.0,
        sliding_window=window,
    )
    theirs = randomize(transformers.Gemma2ForCausalLM(config))
    ours = Transformer(
        norm_position="sandwich",
        activation="geglu_tanh",
        scale_embeddings=True,
        attention="windowed",
        window=window - 1,
        global_layers=[1],
        attention_soft_cap=2.0,
        logit_soft_cap=3.0,
        n_kv_heads=1,
        head_width=8,
        **LLAMA_KIND,
        **SIZES,
    )
    stack, model = ours.decoder, theirs.model
    assert stack is not None
    put_table(stack, model.embed_tokens, None)
    put_norm(stack.norm, model.norm, plus=1.0)
    for block, layer in zip(stack.layers, model.layers, strict=True):
        attention, mlp = layer.self_attn, layer.mlp
        put_projections(
            block.self_attention,
            attention.q_proj.weight * (8 / 5) ** 0.5,  # scaled by 5^-0.5, not by K^-0.5
            attention.k_proj.weight,
            attention.v_proj.weight,
            attention.o_proj.weight,
        )
        put_gated(block.feed_forward, mlp.gate_proj, mlp.up_proj, mlp.down_proj)
        first, second = block.self_attention_residual, block.feed_forward_residual
        put_norm(first.norm, layer.input_layernorm, plus=1.0)
        put_norm(first.output_norm, layer.post_attention_layernorm, plus=1.0)
        put_norm(second.norm, layer.pre_feedforward_layernorm, plus=1.0)
        put_norm(second.output_norm, layer.post_feedforward_layernorm, plus=1.0)
    compare_decoder(ours, model)
    head = VocabularyHead(
        d_model=D, vocabulary_size=V, tied=ours.output_embedding, soft_cap=ours.logit_soft_cap
    )
    expected = theirs(input_ids=ids(T)).logits
    assert expected.abs().max() > 2.0  # the cap bends something
    torch.testing.assert_close(head(ours.features(ids(T))), expected, atol=1e-4, rtol=1e-4)


def by_head(fused: Tensor) -> tuple[Tensor, ...]:
    """BLOOM and GPT-NeoX keep query, key and value of a head side by side."""
    return tuple(part.flatten(0, 1) for part in fused.unflatten(0, (H, 3, D // H)).unbind(1))


def put_fused(attention: MultiHeadAttention, theirs: nn.Module) -> None:
    put_projections(attention, *by_head(theirs.query_key_value.weight), theirs.dense.weight)
    with torch.no_grad():
        attention.qkv.bias.copy_(torch.cat(by_head(theirs.query_key_value.bias)))
        attention.output.bias.copy_(theirs.dense.bias)


def test_gpt_neox() -> None:
    """Attention beside the feed-forward network, each with its norm; half of each head turns."""
    config = transformers.GPTNeoXConfig(
        **SHAPE,
        rope_parameters={"rope_type": "default", "rope_theta": 97.0, "partial_rotary_factor": 0.5},
        use_parallel_residual=True,
        hidden_act="gelu",
    )
    theirs = randomize(transformers.GPTNeoXModel(config))
    ours = Transformer(
        shape="decoder",
        positions="rotary",
        rotary_base=97.0,
        rotary_share=0.5,
        norm_position="parallel",
        activation="gelu",
        **SIZES,
    )
    assert ours.decoder is not None
    put_table(ours.decoder, theirs.embed_in, None)
    put(ours.decoder.norm, theirs.final_layer_norm)
    for block, layer in zip(ours.decoder.layers, theirs.layers, strict=True):
        put_fused(block.self_attention, layer.attention)
        put(block.attention_norm, layer.input_layernorm)
        put(block.feed_forward_norm, layer.post_attention_layernorm)
        put(block.feed_forward.input, layer.mlp.dense_h_to_4h)
        put(block.feed_forward.output, layer.mlp.dense_4h_to_h)
    compare_decoder(ours, theirs)


def test_bloom() -> None:
    """ALiBi, for a number of heads that is no power of two; normalised embeddings."""
    config = transformers.BloomConfig(vocab_size=V, hidden_size=D, n_layer=LAYERS, n_head=H)
    theirs = randomize(transformers.BloomModel(config))
    ours = Transformer(
        shape="decoder",
        positions="alibi",
        norm_position="pre",
        activation="gelu_tanh",
        embedding_norm=True,
        **{**SIZES, "d_feed_forward": 4 * D},
    )
    assert ours.decoder is not None
    put_table(ours.decoder, theirs.word_embeddings, None)
    put(ours.decoder.embeddings.norm, theirs.word_embeddings_layernorm)
    put(ours.decoder.norm, theirs.ln_f)
    for block, layer in zip(ours.decoder.layers, theirs.h, strict=True):
        put_fused(block.self_attention, layer.self_attention)
        put(block.self_attention_residual.norm, layer.input_layernorm)
        put(block.feed_forward_residual.norm, layer.post_attention_layernorm)
        put(block.feed_forward.input, layer.mlp.dense_h_to_4h)
        put(block.feed_forward.output, layer.mlp.dense_4h_to_h)
    compare_decoder(ours, theirs)


@pytest.mark.parametrize("n_heads", [1, 2, 8, 3, 12, 20])
def test_alibi_slopes(n_heads: int) -> None:
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor

    theirs = build_alibi_tensor(torch.ones(1, 2), n_heads, torch.float32)  # (H, 1, 2)
    torch.testing.assert_close(alibi_slopes(n_heads), theirs[:, 0, 1])


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("n_buckets", "max_distance"), [(32, 128), (8, 20)])
def test_relative_buckets(bidirectional: bool, n_buckets: int, max_distance: int) -> None:
    from transformers.models.t5.modeling_t5 import T5Attention

    bias = BucketBias(
        n_heads=H, n_buckets=n_buckets, max_distance=max_distance, bidirectional=bidirectional
    )
    distance = torch.arange(-300, 301)
    expected = T5Attention._relative_position_bucket(
        distance, bidirectional, n_buckets, max_distance
    )
    assert torch.equal(bias.buckets(distance), expected)


def put_t5_stack(stack: Stack, theirs: nn.Module) -> None:
    assert isinstance(stack.position_bias, BucketBias)
    put_table(stack, theirs.embed_tokens, None)
    put_norm(stack.norm, theirs.final_layer_norm)
    first = theirs.block[0].layer[0].SelfAttention.relative_attention_bias
    with torch.no_grad():
        stack.position_bias.weight.copy_(first.weight)
    for block, layer in zip(stack.layers, theirs.block, strict=True):
        attentions = [(block.self_attention, layer.layer[0].SelfAttention)]
        residuals = [(block.self_attention_residual, layer.layer[0])]
        if block.cross_attention is not None:
            attentions.append((block.cross_attention, layer.layer[1].EncDecAttention))
            residuals.append((block.cross_attention_residual, layer.layer[1]))
        for ours, other in attentions:
            query = other.q.weight * ours.head_width**0.5  # T5 does not divide its scores
            put_projections(ours, query, other.k.weight, other.v.weight, other.o.weight)
        network = layer.layer[-1]
        residuals.append((block.feed_forward_residual, network))
        for residual, other in residuals:
            put_norm(residual.norm, other.layer_norm)
        gated = network.DenseReluDense
        put_gated(block.feed_forward, gated.wi_0, gated.wi_1, gated.wo)


def test_t5() -> None:
    """Encoder-decoder with a bias shared by all layers of a side, heads wider than D / H, GEGLU."""
    config = transformers.T5Config(
        vocab_size=V,
        d_model=D,
        d_kv=8,
        d_ff=F,
        num_layers=LAYERS,
        num_heads=H,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=6,
        feed_forward_proj="gated-gelu",
        pad_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=0,
    )
    theirs = randomize(transformers.T5Model(config))
    ours = Transformer(
        shape="encoder_decoder",
        positions="relative",
        relative_buckets=8,
        relative_max_distance=6,
        activation="geglu_tanh",
        norm="rms_norm",
        norm_position="pre",
        norm_epsilon=1e-6,
        head_width=8,
        bias=False,
        **SIZES,
    ).eval()
    assert ours.encoder is not None
    assert ours.decoder is not None
    put_t5_stack(ours.encoder, theirs.encoder)
    put_t5_stack(ours.decoder, theirs.decoder)
    source, target, real = ids(S), ids(T), TARGET.mask()
    expected = theirs(
        input_ids=source, attention_mask=SOURCE.mask().long(), decoder_input_ids=target
    ).last_hidden_state
    memory = ours.encode(source, SOURCE)
    actual = ours.decode(target, TARGET, memory, SOURCE)
    torch.testing.assert_close(actual[real], expected[real], atol=1e-4, rtol=1e-4)
    cache = ours.new_cache()
    steps = [ours.decode(target[:, t : t + 1], None, memory, SOURCE, cache) for t in range(T)]
    torch.testing.assert_close(torch.cat(steps, 1), expected, atol=1e-4, rtol=1e-4)
