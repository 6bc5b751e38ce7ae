"""`format=ctranslate2`: an encoder-decoder for the CTranslate2 engine.

Legend: D model width, F inner width, T positions, V vocabulary.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from heed.backbone.attention import MultiHeadAttention
from heed.backbone.block import Block
from heed.backbone.feed_forward import GATED, FeedForward
from heed.backbone.position_bias import BucketBias
from heed.backbone.positions import LearnedPositions
from heed.backbone.stack import Stack
from heed.errors import UserError, nearest
from heed.exporting.ctranslate_check import (
    compare,
    largest_difference,
    never_tokens,
    quantized_agreement,
)
from heed.exporting.expressible import longest_row
from heed.exporting.subject import Subject, Written
from heed.exporting.tokenizer_files import TARGET, write_tokenizers
from heed.exporting.verification import require_close
from heed.text.tokenizer import Tokenizer

QUANTIZATIONS = ("int8", "int8_float32", "int16", "float16", "bfloat16")
_BENDS = {
    "relu": "RELU",
    "gelu": "GELU",
    "gelu_tanh": "GELUTanh",
    "silu": "SWISH",
    "swiglu": "SWISH",
    "geglu": "GELU",
    "geglu_tanh": "GELUTanh",
}


def write(subject: Subject, folder: Path) -> Written:
    """Build the model, check it unquantized on the examples, quantize, and compare again."""
    quantization = subject.settings["quantization"]
    if quantization is not None and quantization not in QUANTIZATIONS:
        raise UserError(
            f"quantization must be one of {', '.join(QUANTIZATIONS)} or null, but is "
            f"{quantization!r}",
            nearest(str(quantization), QUANTIZATIONS),
        )
    files = write_tokenizers(subject, folder)
    save(subject, folder, None)
    tolerance = subject.settings["tolerance"]
    largest = largest_difference(subject, folder)
    require_close(largest, tolerance, what="the CTranslate2 model")
    agreement = dict(compare(subject, folder))
    if quantization is not None:
        for name in ("model.bin", "config.json"):
            (folder / name).unlink()
        save(subject, folder, quantization)
        agreement.update(quantized_agreement(subject, folder, quantization))
    facts = {
        "tokenizers": files,
        "quantization": quantization,
        "longest_row": longest_row(subject.config["model"]),
    }
    compared = "log probabilities of the targets, and texts token for token"
    return Written(python(subject), compared, largest, tolerance, agreement, facts)


def python(subject: Subject) -> tuple[str, ...]:
    """Lines that use the model."""
    joint = subject.tokenizers.joint
    source = "tokenizer.json" if joint else "source_tokenizer.json"
    reader = f'tokenizers.Tokenizer.from_file("FOLDER/{source}")'
    written = "reader"
    lines = ["import ctranslate2, tokenizers", f"reader = {reader}"]
    if not joint:
        written = "writer"
        lines.append(f'writer = tokenizers.Tokenizer.from_file("FOLDER/{TARGET}")')
    never = json.dumps([[token] for token in never_tokens(subject)], ensure_ascii=False)
    return (
        *lines,
        'translator = ctranslate2.Translator("FOLDER")',
        "found = translator.translate_batch([reader.encode(TEXT).tokens], beam_size=5, "
        f"suppress_sequences={never})",
        f"print({written}.decode([{written}.token_to_id(t) for t in found[0].hypotheses[0]]))",
    )


def save(subject: Subject, folder: Path, quantization: str | None) -> None:
    """Write model.bin, config.json and the vocabularies."""
    spec = build_spec(subject)
    spec.validate()
    spec.optimize(quantization=quantization)
    spec.save(str(folder))


def build_spec(subject: Subject) -> Any:
    """The model as a `ctranslate2.specs.TransformerSpec`."""
    from ctranslate2.specs import common_spec, transformer_spec

    task: Any = subject.task
    backbone = task.backbone
    config = subject.config["model"]
    common: dict[str, Any] = {
        "num_heads": backbone.n_heads,
        "pre_norm": config["norm_position"] == "pre",
        "activation": common_spec.Activation[_BENDS[config["activation"]]],
        "layernorm_embedding": backbone.encoder.embeddings.norm is not None,
        "ffn_glu": config["activation"] in GATED,
        "rms_norm": config["norm"] == "rms_norm",
        "relative_attention_bias": config["positions"] == "relative",
        "head_dim": config.get("head_width"),
    }
    if (config.get("n_kv_heads") or backbone.n_heads) != backbone.n_heads:
        common["num_heads_kv"] = config["n_kv_heads"]
    if config["positions"] == "rotary":
        common.update(_rotary(backbone.encoder, config))
    encoder = transformer_spec.TransformerEncoderSpec(len(backbone.encoder.layers), **common)
    decoder = transformer_spec.TransformerDecoderSpec(len(backbone.decoder.layers), **common)
    _fill_stack(encoder, backbone.encoder, encoder.embeddings[0], backbone.max_length)
    _fill_stack(decoder, backbone.decoder, decoder.embeddings, backbone.max_length)
    decoder.projection.weight = _array(task.head.output.weight * task.head.scale)
    if task.head.output.bias is not None:
        decoder.projection.bias = _array(task.head.output.bias)
    if backbone.logit_soft_cap is not None:
        decoder.final_logit_softcapping = float(backbone.logit_soft_cap)
    spec = transformer_spec.TransformerSpec(encoder, decoder)
    _fill_vocabularies(spec, subject)
    spec.config.layer_norm_epsilon = float(config.get("norm_epsilon", 1e-5))
    return spec


def _fill_vocabularies(spec: Any, subject: Subject) -> None:
    tokenizers = subject.tokenizers
    backbone: Any = subject.task.backbone
    spec.register_source_vocabulary(vocabulary(tokenizers.source, backbone.vocabulary_size))
    target = vocabulary(tokenizers.target, backbone.target_vocabulary_size)
    spec.register_target_vocabulary(target)
    special = tokenizers.target.special_tokens
    spec.config.bos_token = special["bos"]
    (spec.config.decoder_start_token,) = start_tokens(tokenizers.target)
    spec.config.eos_token = special["eos"]
    # Every text can be spelt where there is no such token; the engine asks for a name all the same.
    spec.config.unk_token = special.get("unk", special["pad"])


def start_tokens(tokenizer: Tokenizer) -> list[str]:
    """The token that every text begins with.

    Raises:
        UserError: If it is not one.
    """
    start = tokenizer.tokens(tokenizer.around["target"].before)
    if len(start) != 1:
        raise UserError(
            f"format=ctranslate2 starts a text with one token, but the model does with {start}",
            "format=safetensors keeps any model",
        )
    return start


def vocabulary(tokenizer: Tokenizer, size: int) -> list[str]:
    """The token of each row of an embedding; rows that no token has get names of their own."""
    names: dict[int, str] = {
        number: token
        for token, number in tokenizer.backend.get_vocab(with_added_tokens=True).items()
    }
    return [names.get(number, f"<unused_{number}>") for number in range(size)]


def _rotary(stack: Stack, config: Any) -> dict[str, Any]:
    from ctranslate2.specs import attention_spec

    assert stack.rotary is not None
    found: dict[str, Any] = {
        "rotary_dim": 2 * len(stack.rotary.frequencies),
        "rotary_interleave": False,  # dimension i is paired with i + R/2
        "rotary_base": config.get("rotary_base", 10000.0),
    }
    if config.get("rotary_scaling", "none") == "linear":
        found["rotary_scaling_type"] = attention_spec.RotaryScalingType.Linear
        found["rotary_scaling_factor"] = config["rotary_factor"]
    return found


def _fill_stack(spec: Any, stack: Stack, embeddings: Any, max_length: int) -> None:
    embeddings.weight = _array(stack.embeddings.tokens.weight)
    spec.scale_embeddings = float(stack.embeddings.scale)
    table = _positions(stack, max_length)
    if table is not None:
        spec.position_encodings.encodings = _array(table)
    if stack.embeddings.norm is not None:
        _fill_norm(spec.layernorm_embedding, stack.embeddings.norm)
    if stack.norm is not None:
        _fill_norm(spec.layer_norm, stack.norm)
    for layer_spec, layer in zip(spec.layer, stack.layers, strict=True):
        assert isinstance(layer, Block)
        _fill_block(layer_spec, layer)
        if isinstance(stack.position_bias, BucketBias):
            _fill_buckets(layer_spec.self_attention, stack.position_bias)


def _positions(stack: Stack, max_length: int) -> Tensor | None:
    """(T, D) the table that is added to the embeddings."""
    positions = stack.embeddings.positions
    if positions is None:
        return None
    if isinstance(positions, LearnedPositions):
        return positions.weight
    # CTranslate2's own sines are laid out otherwise, so the table goes along.
    return positions.make_table(max_length, stack.embeddings.tokens.embedding_dim)


def _fill_block(spec: Any, block: Block) -> None:
    _fill_norm(spec.self_attention.layer_norm, block.self_attention_residual.norm)
    attention = block.self_attention
    _fill_linear(spec.self_attention.linear[0], attention.qkv)
    _fill_linear(spec.self_attention.linear[1], attention.output)
    if isinstance(block.cross_attention, MultiHeadAttention):
        assert block.cross_attention_residual is not None
        cross = block.cross_attention
        _fill_norm(spec.attention.layer_norm, block.cross_attention_residual.norm)
        _fill_linear(spec.attention.linear[0], cross.query)
        _fill_linear(spec.attention.linear[1], cross.key_value)
        _fill_linear(spec.attention.linear[2], cross.output)
    _fill_norm(spec.ffn.layer_norm, block.feed_forward_residual.norm)
    _fill_feed_forward(spec.ffn, block.feed_forward)


def _fill_feed_forward(spec: Any, network: FeedForward) -> None:
    """A gate and its value are one matrix here, gate first, and two there."""
    _fill_linear(spec.linear_1, network.output)
    if not network.gated:
        _fill_linear(spec.linear_0, network.input)
        return
    weights = network.input.weight.chunk(2)
    biases = (None, None) if network.input.bias is None else network.input.bias.chunk(2)
    parts = (spec.linear_0, spec.linear_0_noact)
    for part, weight, bias in zip(parts, weights, biases, strict=True):
        part.weight = _array(weight)
        if bias is not None:
            part.bias = _array(bias)


def _fill_buckets(spec: Any, bias: BucketBias) -> None:
    import numpy

    spec.relative_attention_bias = _array(bias.weight)  # (buckets, heads)
    spec.relative_attention_max_distance = numpy.dtype("int32").type(bias.max_distance)


def _fill_norm(spec: Any, norm: nn.Module) -> None:
    weight, bias = norm.weight, getattr(norm, "bias", None)
    assert isinstance(weight, Tensor)
    spec.gamma = _array(weight)
    if isinstance(norm, nn.LayerNorm):
        # Without one the engine would take it for an RMS norm.
        spec.beta = _array(torch.zeros_like(weight) if bias is None else bias)


def _fill_linear(spec: Any, linear: nn.Module) -> None:
    assert isinstance(linear, nn.Linear)
    spec.weight = _array(linear.weight)
    if linear.bias is not None:
        spec.bias = _array(linear.bias)


def _array(tensor: Tensor) -> Any:
    """A copy: quantization writes into what it is given."""
    return tensor.detach().float().cpu().numpy().copy()
