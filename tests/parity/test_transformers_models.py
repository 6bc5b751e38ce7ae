"""With transformers' random weights copied in, the backbone gives its logits.

Nothing is downloaded: each model is built from a config of odd sizes.

Legend: B batch, S source and T target length, D model width, H heads, F inner width, V vocabulary.
"""

from __future__ import annotations

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
    put_attention,
    put_table,
    randomize,
)
from torch import nn

from heed.backbone.stack import Stack
from heed.backbone.transformer import Transformer

transformers = pytest.importorskip("transformers")


def put_bart_stack(ours: Stack, theirs: nn.Module) -> None:
    """BART and Marian name their layers alike."""
    for block, layer in zip(ours.layers, theirs.layers, strict=True):
        put_attention(block.self_attention, layer.self_attn, layer.self_attn.out_proj)
        put(block.self_attention_residual.norm, layer.self_attn_layer_norm)
        if block.cross_attention is not None:
            put_attention(block.cross_attention, layer.encoder_attn, layer.encoder_attn.out_proj)
            put(block.cross_attention_residual.norm, layer.encoder_attn_layer_norm)
        put(block.feed_forward.input, layer.fc1)
        put(block.feed_forward.output, layer.fc2)
        put(block.feed_forward_residual.norm, layer.final_layer_norm)


SIDES = {
    "vocab_size": V,
    "d_model": D,
    "encoder_layers": LAYERS,
    "decoder_layers": LAYERS,
    "encoder_attention_heads": H,
    "decoder_attention_heads": H,
    "encoder_ffn_dim": F,
    "decoder_ffn_dim": F,
    "max_position_embeddings": LONGEST,
    "dropout": 0.0,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "forced_eos_token_id": None,
}


def compare_sides(ours: Transformer, theirs: nn.Module) -> None:
    source, target = ids(S), ids(T)
    expected = theirs(
        input_ids=source,
        attention_mask=SOURCE.mask().long(),
        decoder_input_ids=target,
        decoder_attention_mask=TARGET.mask().long(),
    ).last_hidden_state
    actual = ours.eval().decode(target, TARGET, ours.encode(source, SOURCE), SOURCE)
    real = TARGET.mask()
    torch.testing.assert_close(actual[real], expected[real], atol=1e-4, rtol=1e-4)


def test_bart() -> None:
    """Encoder-decoder, post-norm, learned positions after a norm, GELU."""
    config = transformers.BartConfig(**SIDES, activation_function="gelu")
    theirs = randomize(transformers.BartModel(config))
    ours = Transformer(
        shape="encoder_decoder",
        positions="learned",
        activation="gelu",
        embedding_norm=True,
        **SIZES,
    )
    for stack, other in ((ours.encoder, theirs.encoder), (ours.decoder, theirs.decoder)):
        assert stack is not None
        put_bart_stack(stack, other)
        put_table(stack, theirs.shared, other.embed_positions.weight[2:])
        put(stack.embeddings.norm, other.layernorm_embedding)
    compare_sides(ours, theirs)


def test_marian() -> None:
    """Encoder-decoder, post-norm, scaled embeddings, waves in halves (kept as a table)."""
    config = transformers.MarianConfig(
        **SIDES,
        scale_embedding=True,
        activation_function="relu",
        share_encoder_decoder_embeddings=True,
    )
    theirs = randomize(transformers.MarianModel(config))
    ours = Transformer(shape="encoder_decoder", positions="learned", scale_embeddings=True, **SIZES)
    for stack, other in ((ours.encoder, theirs.encoder), (ours.decoder, theirs.decoder)):
        assert stack is not None
        put_bart_stack(stack, other)
        put_table(stack, theirs.shared, other.embed_positions.weight)
    compare_sides(ours, theirs)


def test_bert() -> None:
    """Encoder, post-norm, normalised embeddings, GELU; the one segment's vector joins positions."""
    config = transformers.BertConfig(
        vocab_size=V,
        hidden_size=D,
        num_hidden_layers=LAYERS,
        num_attention_heads=H,
        intermediate_size=F,
        max_position_embeddings=LONGEST,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    theirs = randomize(transformers.BertModel(config, add_pooling_layer=False))
    ours = Transformer(
        shape="encoder",
        positions="learned",
        activation="gelu",
        embedding_norm=True,
        norm_epsilon=1e-12,
        **SIZES,
    ).eval()
    assert ours.encoder is not None
    table = theirs.embeddings
    segment = table.token_type_embeddings.weight[0]
    put_table(ours.encoder, table.word_embeddings, table.position_embeddings.weight + segment)
    put(ours.encoder.embeddings.norm, table.LayerNorm)
    for block, layer in zip(ours.encoder.layers, theirs.encoder.layer, strict=True):
        attention = layer.attention
        put(
            block.self_attention.qkv,
            attention.self.query,
            attention.self.key,
            attention.self.value,
        )
        put(block.self_attention.output, attention.output.dense)
        put(block.self_attention_residual.norm, attention.output.LayerNorm)
        put(block.feed_forward.input, layer.intermediate.dense)
        put(block.feed_forward.output, layer.output.dense)
        put(block.feed_forward_residual.norm, layer.output.LayerNorm)
    source, real = ids(S), SOURCE.mask()
    expected = theirs(input_ids=source, attention_mask=real.long()).last_hidden_state
    actual = ours.features(source, SOURCE)
    torch.testing.assert_close(actual[real], expected[real], atol=1e-4, rtol=1e-4)


def test_gpt2() -> None:
    """Decoder, pre-norm, learned positions, GELU by tanh."""
    config = transformers.GPT2Config(
        vocab_size=V,
        n_embd=D,
        n_head=H,
        n_inner=F,
        n_layer=LAYERS,
        n_positions=LONGEST,
        attn_pdrop=0.0,
        embd_pdrop=0.0,
        resid_pdrop=0.0,
        bos_token_id=1,
        eos_token_id=2,
    )
    theirs = randomize(transformers.GPT2Model(config))
    ours = Transformer(
        shape="decoder", positions="learned", activation="gelu_tanh", norm_position="pre", **SIZES
    )
    assert ours.decoder is not None
    put_table(ours.decoder, theirs.wte, theirs.wpe.weight)
    put(ours.decoder.norm, theirs.ln_f)
    for block, layer in zip(ours.decoder.layers, theirs.h, strict=True):
        put(block.self_attention.qkv, layer.attn.c_attn, transpose=True)
        put(block.self_attention.output, layer.attn.c_proj, transpose=True)
        put(block.self_attention_residual.norm, layer.ln_1)
        put(block.feed_forward.input, layer.mlp.c_fc, transpose=True)
        put(block.feed_forward.output, layer.mlp.c_proj, transpose=True)
        put(block.feed_forward_residual.norm, layer.ln_2)
    compare_decoder(ours, theirs)


@pytest.mark.parametrize(("groups", "head_width"), [(3, 12), (1, 12), (3, 8), (1, 8)])
def test_llama(groups: int, head_width: int) -> None:
    """Decoder, pre-norm, rotary positions, RMSNorm, SwiGLU, no biases; keys and values shared by
    all heads or by none, heads as wide as D / H or not.
    """
    config = transformers.LlamaConfig(
        vocab_size=V,
        hidden_size=D,
        num_attention_heads=H,
        num_key_value_heads=groups,
        head_dim=head_width,
        intermediate_size=F,
        num_hidden_layers=LAYERS,
        max_position_embeddings=LONGEST,
        rms_norm_eps=1e-6,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    theirs = randomize(transformers.LlamaModel(config))
    ours = Transformer(
        shape="decoder",
        positions="rotary",
        activation="swiglu",
        norm="rms_norm",
        norm_position="pre",
        norm_epsilon=1e-6,
        n_kv_heads=groups,
        head_width=head_width,
        bias=False,
        **SIZES,
    )
    assert ours.decoder is not None
    put_table(ours.decoder, theirs.embed_tokens, None)
    with torch.no_grad():
        ours.decoder.norm.weight.copy_(theirs.norm.weight)
    for block, layer in zip(ours.decoder.layers, theirs.layers, strict=True):
        put_attention(block.self_attention, layer.self_attn, layer.self_attn.o_proj)
        put(block.feed_forward.input, layer.mlp.gate_proj, layer.mlp.up_proj)
        put(block.feed_forward.output, layer.mlp.down_proj)
        with torch.no_grad():
            residuals = (block.self_attention_residual, block.feed_forward_residual)
            norms = (layer.input_layernorm, layer.post_attention_layernorm)
            for residual, norm in zip(residuals, norms, strict=True):
                residual.norm.weight.copy_(norm.weight)
    compare_decoder(ours, theirs)
