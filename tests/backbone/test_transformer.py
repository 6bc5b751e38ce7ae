"""The whole Transformer: what it must not see, what caching must not change, what it refuses.

Legend: B batch, S source length, T target length, V vocabulary.
"""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from heed.backbone.layout import Padded
from heed.backbone.transformer import Transformer
from heed.errors import UserError, UserErrors
from heed.heads.loss import label_smoothed_cross_entropy
from heed.heads.vocabulary import VocabularyHead

V, B, S, T = 31, 3, 7, 5
SIZES: dict[str, Any] = {
    "vocabulary_size": V,
    "d_model": 24,
    "n_heads": 3,
    "d_feed_forward": 37,
    "n_layers": 2,
    "max_length": 11,
}
KINDS = list(
    itertools.product(
        ("sinusoidal", "learned", "rotary", "alibi", "relative"),
        ("scaled_dot_product", "additive"),
        ("pre", "post"),
    )
)


def build(**values: Any) -> Transformer:
    torch.manual_seed(1)
    return Transformer(**{"shape": "encoder_decoder", **SIZES, **values})


def kind_of(kind: tuple[str, str, str]) -> dict[str, Any]:
    positions, attention, norm_position = kind
    return {"positions": positions, "attention": attention, "norm_position": norm_position}


def tokens(rows: int, length: int) -> Tensor:
    torch.manual_seed(2)
    return torch.randint(V, (rows, length))


def widen(ids: Tensor, layout: Padded, by: int) -> tuple[Tensor, Padded]:
    """The same rows with `by` more columns of padding."""
    torch.manual_seed(4)
    noise = torch.randint(V, (ids.shape[0], by))
    return torch.cat((ids, noise), 1), Padded(layout.lengths, layout.width + by)


SOURCE = Padded(torch.tensor([7, 2, 5]), S)
TARGET = Padded(torch.tensor([3, 5, 4]), T)


def real(x: Tensor, layout: Padded) -> Tensor:
    """The vectors of real tokens, (tokens, D)."""
    return x[:, : layout.width][layout.mask()]


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(kind: tuple[str, str, str]) -> None:
    model = build(**kind_of(kind)).eval()
    source, target = tokens(B, S), tokens(B, T)
    memory = model.encode(source, SOURCE)
    expected = model.decode(target, TARGET, memory, SOURCE)
    wide_source, wide_layout = widen(source, SOURCE, 4)
    wide_target, wide_target_layout = widen(target, TARGET, 2)
    wide_memory = model.encode(wide_source, wide_layout)
    actual = model.decode(wide_target, wide_target_layout, wide_memory, wide_layout)
    torch.testing.assert_close(real(wide_memory, SOURCE), real(memory, SOURCE))
    torch.testing.assert_close(real(actual, TARGET), real(expected, TARGET))


@pytest.mark.parametrize("kind", KINDS)
def test_the_future_changes_nothing(kind: tuple[str, str, str]) -> None:
    model = build(shape="decoder", **kind_of(kind)).eval()
    ids = tokens(B, T)
    changed = ids.clone()
    changed[:, 3:] = (ids[:, 3:] + 1) % V
    before, after = model.decode(ids), model.decode(changed)
    torch.testing.assert_close(after[:, :3], before[:, :3])
    assert not torch.allclose(after[:, 3:], before[:, 3:], atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_of_one_equals_its_row(kind: tuple[str, str, str]) -> None:
    model = build(**kind_of(kind)).eval()
    source, target = tokens(B, S), tokens(B, T)
    batch = model.decode(target, TARGET, model.encode(source, SOURCE), SOURCE)
    for row in range(B):
        s, t = int(SOURCE.lengths[row]), int(TARGET.lengths[row])
        alone = model.decode(
            target[row : row + 1, :t], None, model.encode(source[row : row + 1, :s])
        )
        torch.testing.assert_close(alone[0], batch[row, :t], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", ["decoder", "encoder_decoder"])
def test_cached_decoding_equals_parallel(kind: tuple[str, str, str], shape: str) -> None:
    model = build(shape=shape, **kind_of(kind)).eval()
    target = tokens(B, T)
    memory = model.encode(tokens(B, S), SOURCE) if shape == "encoder_decoder" else None
    expected = model.decode(target, None, memory, SOURCE)
    cache = model.new_cache()
    steps = [model.decode(target[:, :2], None, memory, SOURCE, cache)]
    steps += [model.decode(target[:, t : t + 1], cache=cache) for t in range(2, T)]
    assert cache.length == T
    torch.testing.assert_close(torch.cat(steps, 1), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("positions", ["sinusoidal", "learned", "rotary", "alibi", "relative"])
def test_cached_prompts_may_have_different_lengths(positions: str) -> None:
    """Two steps after padded, reordered prompts equal the rows without the padding between."""
    model = build(shape="decoder", positions=positions).eval()
    prompts, added = tokens(B, T), tokens(B, 2)
    cache = model.new_cache()
    model.decode(prompts, TARGET, cache=cache)
    chosen = [2, 0, 0, 1]
    cache.reorder(torch.tensor(chosen))
    steps = torch.cat([model.decode(added[chosen, t : t + 1], cache=cache) for t in range(2)], 1)
    for i, row in enumerate(chosen):
        whole = torch.cat((prompts[row, : int(TARGET.lengths[row])], added[row]))[None]
        torch.testing.assert_close(steps[i], model.decode(whole)[0, -2:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("rows", [[0, 0, 1, 1, 2, 2], [2, 0], [1, 0, 2], [0, 1, 2]])
def test_a_reordered_cache_goes_on_as_the_chosen_rows(rows: list[int]) -> None:
    model = build().eval()
    target, memory = tokens(B, T), model.encode(tokens(B, S), SOURCE)
    cache = model.new_cache()
    model.decode(target[:, :3], None, memory, SOURCE, cache)
    chosen = torch.tensor(rows)
    cache.reorder(chosen)
    following = (target[chosen, 3:4] + torch.arange(len(rows))[:, None]) % V
    actual = model.decode(following, cache=cache)
    whole = torch.cat((target[chosen, :3], following), 1)
    lengths = Padded(SOURCE.lengths[chosen], S)
    expected = model.decode(whole, None, memory[chosen], lengths)[:, -1:]
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_beams_of_one_sentence_change_places_without_moving_the_memory() -> None:
    model = build().eval()
    memory = model.encode(tokens(B, S), SOURCE)
    cache = model.new_cache()
    model.decode(tokens(B, 1), None, memory, SOURCE, cache)
    cache.reorder(torch.tensor([0, 0, 1, 1, 2, 2]))
    kept = cache.layers[0].cross_key
    first = cache.layers[0].key
    cache.reorder(torch.tensor([1, 1, 3, 2, 4, 5]))
    assert cache.layers[0].cross_key is kept
    assert cache.layers[0].key is not first
    cache.reorder(torch.tensor([2, 3, 0, 1, 4, 5]))
    assert cache.layers[0].cross_key is not kept


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", ["encoder", "decoder", "encoder_decoder"])
@pytest.mark.parametrize("tie", ["all", "none"])
def test_every_parameter_gets_a_gradient(kind: tuple[str, str, str], shape: str, tie: str) -> None:
    model = build(
        shape=shape,
        tie_embeddings=tie,
        norm="rms_norm",
        activation="swiglu",
        embedding_norm=True,
        attention_dropout=0.1,
        layer_dropout=0.1,
        **kind_of(kind),
    )
    model.features(tokens(B, S), SOURCE)[SOURCE.mask()].square().sum().backward()
    without = [name for name, weight in model.named_parameters() if weight.grad is None]
    assert without == []


@pytest.mark.parametrize("norm_position", ["pre", "post", "sandwich"])
@pytest.mark.parametrize("tie", ["all", "decoder", "none"])
@pytest.mark.parametrize("positions", ["sinusoidal", "learned", "rotary", "alibi", "relative"])
def test_a_fresh_model_has_even_odds(norm_position: str, tie: str, positions: str) -> None:
    """The first loss is the entropy of a uniform choice among V tokens."""
    size = 1009
    model = build(
        vocabulary_size=size,
        d_model=96,
        norm_position=norm_position,
        tie_embeddings=tie,
        positions=positions,
        max_length=64,
    ).eval()
    head = VocabularyHead(d_model=96, vocabulary_size=size, tied=model.output_embedding)
    source, target = torch.randint(size, (2, 8, 37))
    logits = head(model.decode(target[:, :-1], None, model.encode(source)))
    loss = label_smoothed_cross_entropy(logits, target[:, 1:])
    assert abs((loss.sum / loss.count).item() - math.log(size)) < 0.15


def test_tables_are_shared_as_asked() -> None:
    def tables(tie: str) -> tuple[Tensor, Tensor, Tensor | None]:
        model = build(tie_embeddings=tie)
        assert model.encoder is not None
        assert model.decoder is not None
        source = model.encoder.embeddings.tokens.weight
        return source, model.decoder.embeddings.tokens.weight, model.output_embedding

    source, target, output = tables("all")
    assert source is target is output
    source, target, output = tables("inputs")
    assert source is target
    assert output is None
    source, target, output = tables("decoder")
    assert source is not target
    assert target is output
    source, target, output = tables("none")
    assert source is not target
    assert output is None


def test_each_side_may_have_its_own_vocabulary() -> None:
    model = build(target_vocabulary_size=41, tie_embeddings="decoder", n_decoder_layers=1).eval()
    assert model.output_embedding is not None
    assert model.output_embedding.shape == (41, 24)
    assert model.decode(torch.full((1, 3), 40), None, model.encode(tokens(1, S))).shape == (
        1,
        3,
        24,
    )
    with pytest.raises(UserError, match="one vocabulary to label a text"):
        model.features(tokens(1, S))


def test_a_row_with_no_tokens_harms_no_one() -> None:
    model = build()
    layout = Padded(torch.tensor([S, 0, 3]), S)
    hidden = model.decode(tokens(B, T), None, model.encode(tokens(B, S), layout), layout)
    assert hidden.isfinite().all()
    hidden.sum().backward()
    assert all(weight.grad.isfinite().all() for weight in model.parameters())


def test_layer_dropout_skips_whole_rows() -> None:
    model = build(shape="encoder", dropout=0.0, layer_dropout=0.5, n_layers=1)
    assert model.encoder is not None
    ids = tokens(1, S).expand(64, S)
    skipped = model.encoder.embeddings(ids[:1], torch.arange(S), S)
    applied = model.eval().encode(ids[:1])
    rows = model.train().encode(ids)
    is_skipped = torch.isclose(rows, skipped, atol=1e-5).flatten(1).all(1)
    is_applied = torch.isclose(rows, applied, atol=1e-5).flatten(1).all(1)
    assert (is_skipped ^ is_applied).all()
    assert 10 < int(is_skipped.sum()) < 54


def test_rows_longer_than_learned_positions_are_refused() -> None:
    with pytest.raises(UserError, match=r"model\.max_length \(11\).* but is 13"):
        build(positions="learned").encode(tokens(1, 13))
    for positions in ("sinusoidal", "rotary", "alibi", "relative"):
        assert build(positions=positions).encode(tokens(1, 13)).shape == (1, 13, 24)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"n_heads": 7},
            r"model\.n_heads must divide model\.d_model \(24\), but is 7; .*n_heads=8",
        ),
        (
            {"n_heads": 8, "positions": "rotary"},
            r"must be even with model\.positions=rotary.* is 3",
        ),
        (
            {"n_heads": 12, "n_kv_heads": 5},
            r"model\.n_kv_heads must divide model\.n_heads \(12\), but is 5; .*n_kv_heads=6",
        ),
        (
            {"head_width": 5, "positions": "rotary"},
            r"model\.head_width must be even with model\.positions=rotary, but is 5; change",
        ),
        (
            {"rotary_share": 0.4, "positions": "rotary"},
            r"model\.rotary_share of 8 must be even with .* but is 3; change model\.rotary_share,",
        ),
        ({"rotary_share": 0}, r"model\.rotary_share must be more than 0 and at most 1, but is 0"),
        (
            {"head_width": 2, "positions": "rotary", "rotary_scaling": "ntk"},
            r"model\.head_width must be at least 4 with model\.rotary_scaling=ntk, but is 2",
        ),
        (
            {"rotary_scaling": "linear"},
            r"rotary_scaling must be none with .*=sinusoidal, but is linear; .*=rotary",
        ),
        (
            {"rotary_factor": 2},
            r"rotary_factor must be 1 with model\.rotary_scaling=none, but is 2",
        ),
        ({"rotary_factor": 0.5}, r"model\.rotary_factor must be at least 1, but is 0\.5"),
        (
            {"relative_buckets": 30},
            r"model\.relative_buckets must be a multiple of 4, but is 30; .*relative_buckets=28",
        ),
        (
            {"relative_max_distance": 16},
            r"relative_max_distance must be more than half of .* \(32\), but is 16; .*distance=128",
        ),
        (
            {"attention_soft_cap": 50.0, "attention": "additive"},
            r"attention_soft_cap must be null with model\.attention=additive, but is 50\.0",
        ),
        (
            {"attention_soft_cap": 50.0, "kernel": "sdpa"},
            r"attention_soft_cap must be null with .*=sdpa.* but is 50\.0; .*kernel=auto",
        ),
        (
            {"kernel": "flex", "attention": "additive"},
            r"model\.kernel must be auto with model\.attention=additive.* but is flex; .*=auto",
        ),
        (
            {"kernel": "flex", "attention_dropout": 0.1},
            r"attention_dropout must be 0 with model\.kernel=flex, .* but is 0\.1; .*dropout=0",
        ),
        (
            {"kernel": "flex", "head_width": 12},
            r"model\.head_width must be at least 16 with model\.kernel=flex, .* is 12; .*=auto",
        ),
        ({"logit_soft_cap": -1}, r"model\.logit_soft_cap must be positive, but is -1"),
        (
            {"norm_position": "parallel"},
            r"model\.norm_position must be .* sandwich .* but is parallel; .*position=pre",
        ),
        ({"attention": "windowed"}, r"model\.window must be .* but is null; try model\.window=128"),
        ({"window": 3}, r"window must be null with model\.attention=scaled_dot_product, but is 3"),
        (
            {"attention": "windowed", "window": 0},
            r"window must be a positive .* but is 0",
        ),
        (
            {"attention": "windowed", "window": 3, "positions": "alibi"},
            r"positions must be .* rotary with .*=windowed, .* but is alibi; .*=rotary",
        ),
        (
            {"attention": "windowed", "window": 3, "global_layers": [0, 2]},
            r"global_layers must be numbers of layers \(0 to 1\), but holds 2",
        ),
        (
            {"global_layers": [1]},
            r"global_layers must be \[\] with .*=scaled_dot_product, but is \[1\]; .*=windowed",
        ),
        ({"n_kv_heads": 0}, r"model\.n_kv_heads must be a positive whole number, but is 0"),
        ({"d_model": 0}, r"model\.d_model must be a positive whole number, but is 0"),
        ({"n_layers": 1.5}, r"model\.n_layers must be a positive whole number, but is 1\.5"),
        ({"dropout": 1.0}, r"model\.dropout must be at least 0 and less than 1, but is 1\.0"),
        ({"norm_epsilon": 0.0}, r"model\.norm_epsilon must be positive, but is 0\.0"),
        ({"local_rotary_base": 0.0}, r"model\.local_rotary_base must be positive, but is 0\.0"),
        ({"local_rotary_base": 9.0}, r"local_rotary_base must be null with model\.attention=sca"),
        ({"first_norm": False}, r"model\.first_norm must be true with model\.norm_position=post"),
        ({"shape": "encoderdecoder"}, r"model\.shape must be one of .* did you mean 'encoder_deco"),
        ({"positions": "rotery"}, r"model\.positions must be .* did you mean 'rotary'"),
        ({"target_vocabulary_size": 41}, r"model\.tie_embeddings=all must have one vocabulary"),
        (
            {"shape": "decoder", "target_vocabulary_size": 41},
            r"target_vocabulary_size must be null",
        ),
        ({"shape": "encoder", "n_decoder_layers": 2}, r"model\.n_decoder_layers must be null"),
    ],
)
def test_values_that_make_no_sense_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        build(**values)


def test_all_faults_are_told_together() -> None:
    with pytest.raises(UserErrors) as raised:
        build(d_model=-1, dropout=2.0, norm="layernorm")
    assert len(raised.value.errors) == 3


def test_the_backbone_needs_neither_lightning_nor_hydra() -> None:
    code = (
        "import sys, heed.backbone.transformer, heed.heads.vocabulary, heed.heads.label, "
        "heed.heads.span, heed.heads.loss\n"
        "heavy = {'lightning', 'pytorch_lightning', 'hydra', 'omegaconf', 'transformers', "
        "'datasets'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_precision_gives_nearly_the_same(kind: tuple[str, str, str]) -> None:
    """Under autocast, cached and not, with gradients; bf16 keeps 8 bits, so 5% of the size."""
    model = build(dropout=0.0, **kind_of(kind))
    source, target = tokens(B, S), tokens(B, T)
    expected = model.decode(target, TARGET, model.encode(source, SOURCE), SOURCE)
    with torch.autocast("cpu", torch.bfloat16):
        memory = model.encode(source, SOURCE)
        actual = model.decode(target, TARGET, memory, SOURCE)
        cache = model.new_cache()
        steps = [model.decode(target[:, t : t + 1], None, memory, SOURCE, cache) for t in range(T)]
    real_tokens = TARGET.mask()
    size = expected[real_tokens].abs().max().item()
    for found in (actual, torch.cat(steps, 1)):
        assert (found - expected)[real_tokens].abs().max().item() < 0.05 * size
    actual.float().square().sum().backward()
    assert all(weight.grad.isfinite().all() for weight in model.parameters())
