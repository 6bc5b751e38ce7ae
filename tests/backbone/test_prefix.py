"""A decoder whose first tokens all see each other: a prefix language model.

Legend: B batch, T positions, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from heed.backbone.layout import Padded, attention_mask
from heed.backbone.transformer import Transformer

V, B, T = 29, 3, 7
ROWS = Padded(torch.tensor([6, 7, 5]), T)
PREFIX = Padded(torch.tensor([4, 2, 5]), 5)
POSITIONS = ["sinusoidal", "learned", "rotary", "alibi", "relative"]
KINDS: list[dict[str, Any]] = [
    *({"positions": positions} for positions in POSITIONS),
    {"attention": "windowed", "window": 2, "global_layers": [0]},
    {"attention": "additive", "norm_position": "post"},
]


def build(shape: str = "decoder", **values: Any) -> Transformer:
    torch.manual_seed(1)
    model = Transformer(
        shape=shape,  # type: ignore[arg-type]
        **{
            **{"vocabulary_size": V, "d_model": 24, "n_heads": 3, "d_feed_forward": 37},
            **{"n_layers": 2, "max_length": 11, "norm_position": "pre", **values},
        },
    )
    return model.eval()


def tokens() -> torch.Tensor:
    torch.manual_seed(2)
    return torch.randint(V, (B, T))


def test_a_prefix_sees_itself_and_the_rest_sees_what_came_before() -> None:
    layout = Padded(torch.tensor([4, 3]), 4)
    mask = attention_mask(layout, layout, causal=True, prefix=Padded(torch.tensor([3, 0]), 3))
    assert mask is not None
    assert mask.shape == (2, 1, 4, 4)
    assert mask[0, 0].int().tolist() == [[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    assert mask[1, 0].int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 0]]


@pytest.mark.parametrize("kind", [{"positions": p} for p in POSITIONS[:4]] + KINDS[5:], ids=str)
def test_where_all_is_prefix_a_decoder_is_an_encoder(kind: dict[str, Any]) -> None:
    """The same weights in an encoder, whose masks are made elsewhere. (T5's buckets differ.)"""
    decoder, encoder = build(**kind), build("encoder", **kind)
    assert decoder.decoder is not None
    assert encoder.encoder is not None
    encoder.encoder.load_state_dict(decoder.decoder.state_dict())
    expected = encoder.encode(tokens(), ROWS)
    actual = decoder.decode(tokens(), ROWS, prefix=ROWS)
    real = ROWS.mask()
    torch.testing.assert_close(actual[real], expected[real], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_what_is_written_changes_nothing_before_it(kind: dict[str, Any]) -> None:
    model, ids = build(**kind), tokens()
    before = model.decode(ids, ROWS, prefix=PREFIX)
    for t in range(T):
        changed = ids.clone()
        changed[:, t] = (changed[:, t] + 1) % V
        after = model.decode(changed, ROWS, prefix=PREFIX)
        for row in range(B):
            moved = (after[row] - before[row]).abs().amax(-1) > 1e-6
            past = int(ROWS.lengths[row])
            if t >= int(PREFIX.lengths[row]):
                assert not moved[:t].any()
            elif t < past and "window" not in kind:
                assert moved[:past].all()  # within the prefix there is no before


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_cached_prefixes_of_different_lengths(kind: dict[str, Any], bidirectional: bool) -> None:
    """Steps after padded prefixes equal the rows alone, in one go, without padding or cache."""
    model, ids = build(**kind), tokens()
    added = tokens()[:, :2]
    cache = model.new_cache()
    prefix = PREFIX if bidirectional else None
    model.decode(ids[:, : PREFIX.width], PREFIX, cache=cache, prefix=prefix)
    chosen = [2, 0, 0, 1]
    cache.reorder(torch.tensor(chosen))
    steps = torch.cat([model.decode(added[chosen, t : t + 1], cache=cache) for t in range(2)], 1)
    for i, row in enumerate(chosen):
        length = int(PREFIX.lengths[row])
        whole = torch.cat((ids[row, :length], added[row]))[None]
        alone = Padded.unpadded(1, length) if bidirectional else None
        expected = model.decode(whole, prefix=alone)[0, -2:]
        torch.testing.assert_close(steps[i], expected, atol=1e-5, rtol=1e-5)
