"""What every family is held to: its models of transformers against the backbone, there and back.

Legend: B rows, T positions, V vocabulary, K beams.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from heed.backbone.layout import Padded
from heed.backbone.transformer import Transformer
from heed.heads.label import LabelHead
from heed.heads.masked import MaskedTokenHead
from heed.heads.span import SpanHead
from heed.heads.vocabulary import VocabularyHead
from heed.pretrained.checkpoint import Checkpoint
from heed.pretrained.families import family_of
from heed.pretrained.family import Family
from heed.pretrained.load import Report, load_pretrained
from heed.pretrained.save import write_config, write_tensors

transformers = pytest.importorskip("transformers")

V, B, T = 61, 3, 9
LENGTHS = torch.tensor([9, 4, 7])
LAYOUT = Padded(LENGTHS, T)
REAL = LAYOUT.mask()
TOKEN_IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


class Loaded(NamedTuple):
    """A checkpoint in the backbone."""

    backbone: Transformer
    family: Family
    values: dict[str, Any]
    report: Report


def randomized(model: Any, std: float = 0.2) -> Any:
    """Weights large enough that every part matters, norms and biases too."""
    torch.manual_seed(1)
    for weight in model.parameters():
        nn.init.normal_(weight, std=std)
    return model.eval()


def ids(pad: int = 0) -> Tensor:
    """(B, T) tokens that are no special ones, and padding behind them."""
    torch.manual_seed(2)
    return torch.randint(5, V, (B, T)).masked_fill(~REAL, pad)


def read(folder: Path, head: nn.Module | None = None, labels: Any = None) -> Loaded:
    """What a folder of transformers' is as ours."""
    checkpoint = Checkpoint(str(folder))
    family = family_of(checkpoint.model_type, name=checkpoint.name)
    values = family.values(checkpoint.config)
    torch.manual_seed(0)
    backbone = Transformer(**values).eval()
    report = load_pretrained(checkpoint, family, values, backbone, head, labels=labels)
    return Loaded(backbone, family, values, report)


def write(loaded: Loaded, folder: Path, head: nn.Module | None = None, kind: str = "") -> Any:
    """Ours as transformers reads it, by the class that config.json names: everything it needs is
    there, and nothing else.
    """
    tensors = write_tensors(
        loaded.family,
        loaded.values,
        loaded.backbone.state_dict(),
        None if head is None else head.state_dict(),
        kind,
    )
    labelled = isinstance(head, LabelHead)
    config = write_config(
        loaded.family,
        loaded.values,
        kind,
        [str(i) for i in range(head.output.out_features)] if labelled else None,
        head.pooling if labelled else None,
    )
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**TOKEN_IDS, **config}))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    model_class = getattr(transformers, config["architectures"][0])
    model, info = model_class.from_pretrained(folder, output_loading_info=True)
    # A pooler belongs to the bare BERT of transformers, but to the label head of ours.
    assert all(name.startswith("pooler.") for name in info["missing_keys"]), info
    assert not info["unexpected_keys"], info
    assert not info["mismatched_keys"], info
    return model.eval()


def close(found: Tensor, expected: Tensor) -> None:
    """Equal within 1e-5."""
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def check_hidden_states(theirs: Any, folder: Path, pad: int = 0) -> Loaded:
    """The bare model, read and written."""
    theirs = randomized(theirs)
    theirs.save_pretrained(folder / "theirs")
    loaded, rows = read(folder / "theirs"), ids(pad)
    expected = theirs(rows, attention_mask=REAL.long()).last_hidden_state[REAL]
    close(loaded.backbone.features(rows, LAYOUT)[REAL], expected)
    again = write(loaded, folder / "ours")
    assert type(again) is type(theirs)
    close(again(rows, attention_mask=REAL.long()).last_hidden_state[REAL], expected)
    return loaded


@torch.no_grad()
def check_label_head(theirs: Any, folder: Path, pooling: Any, pad: int = 0) -> Loaded:
    """A label head, read and written."""
    theirs = randomized(theirs)
    theirs.save_pretrained(folder / "theirs")
    labels = [theirs.config.id2label[i] for i in range(theirs.config.num_labels)]
    width = theirs.config.hidden_size
    head = LabelHead(d_model=width, n_labels=len(labels), pooling=pooling).eval()
    loaded, rows = read(folder / "theirs", head, labels), ids(pad)
    assert loaded.report.fresh == []
    assert loaded.family.pooling_of(theirs.config.to_dict()) == pooling
    expected = theirs(rows, attention_mask=REAL.long()).logits
    close(head(loaded.backbone.features(rows, LAYOUT), LAYOUT), expected)
    again = write(loaded, folder / "ours", head, "label")
    assert type(again) is type(theirs)
    close(again(rows, attention_mask=REAL.long()).logits, expected)
    return loaded


@torch.no_grad()
def check_span_head(theirs: Any, folder: Path, pad: int = 0) -> Loaded:
    """A span head, read and written."""
    theirs = randomized(theirs)
    theirs.save_pretrained(folder / "theirs")
    head = SpanHead(d_model=theirs.config.hidden_size).eval()
    loaded, rows = read(folder / "theirs", head), ids(pad)
    assert loaded.report.fresh == []
    expected = theirs(rows, attention_mask=REAL.long())
    start, end = head(loaded.backbone.features(rows, LAYOUT), REAL)
    close(start[REAL], expected.start_logits[REAL])
    close(end[REAL], expected.end_logits[REAL])
    again = write(loaded, folder / "ours", head, "span")
    assert type(again) is type(theirs)
    close(again(rows, attention_mask=REAL.long()).end_logits[REAL], expected.end_logits[REAL])
    return loaded


@torch.no_grad()
def check_masked_head(theirs: Any, folder: Path, pad: int = 0) -> Loaded:
    """A head for hidden tokens, read and written."""
    theirs = randomized(theirs)
    theirs.save_pretrained(folder / "theirs")
    loaded, rows = read(folder / "theirs"), ids(pad)
    backbone = loaded.backbone
    head = MaskedTokenHead.of(backbone).eval()
    checkpoint = Checkpoint(str(folder / "theirs"))
    report = load_pretrained(checkpoint, loaded.family, loaded.values, backbone, head)
    assert report.fresh == []
    expected = theirs(rows, attention_mask=REAL.long()).logits[REAL]
    close(head(loaded.backbone.features(rows, LAYOUT))[REAL], expected)
    again = write(loaded, folder / "ours", head, "masked")
    assert type(again) is type(theirs)
    close(again(rows, attention_mask=REAL.long()).logits[REAL], expected)
    return loaded


def vocabulary_head(backbone: Transformer) -> VocabularyHead:
    """As tasks make it."""
    head = VocabularyHead(
        d_model=backbone.d_model,
        vocabulary_size=backbone.vocabulary_size,
        tied=backbone.output_embedding,
    )
    return head.eval()


@torch.no_grad()
def read_writer(theirs: Any, folder: Path) -> tuple[Loaded, VocabularyHead]:
    """A decoder with its vocabulary head."""
    theirs.save_pretrained(folder)
    shape = read(folder)
    head = vocabulary_head(shape.backbone)
    checkpoint = Checkpoint(str(folder))
    report = load_pretrained(checkpoint, shape.family, shape.values, shape.backbone, head)
    assert report.fresh == []
    return shape._replace(report=report), head


@torch.no_grad()
def check_logits(theirs: Any, folder: Path) -> Loaded:
    """A decoder's logits: all positions at once, one by one with the cache, and written back."""
    theirs = randomized(theirs)
    loaded, head = read_writer(theirs, folder / "theirs")
    backbone, rows = loaded.backbone, ids()
    expected = theirs(rows, attention_mask=REAL.long()).logits[REAL]
    close(head(backbone.decode(rows, LAYOUT))[REAL], expected)
    cache = backbone.new_cache()
    steps = [
        backbone.decode(rows[:, t : t + 1], Padded((t < LENGTHS).long(), 1), cache=cache)
        for t in range(T)
    ]
    close(head(torch.cat(steps, dim=1))[REAL], expected)
    again = write(loaded, folder / "ours", head, "vocabulary")
    close(again(rows, attention_mask=REAL.long()).logits[REAL], expected)
    return loaded


def change_tensors(folder: Path, change: Any) -> None:
    """Write a folder's tensors anew."""
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})
