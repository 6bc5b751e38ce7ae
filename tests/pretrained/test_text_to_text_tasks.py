"""Tasks over T5, BART and Marian checkpoints as the command line makes them: they learn, and write
what transformers writes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.pretrained.text_to_text import randomized
from tests.sentencepiece_file import write_model
from tokenizers import ByteLevelBPETokenizer
from torch import Tensor

from heed.commands.assemble import Parts, assemble
from heed.commands.compose import compose
from heed.data.batch import PairBatch
from heed.data.preparation import columns_of
from heed.errors import UserError, UserErrors

transformers = pytest.importorskip("transformers")

LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
PIECES = ["▁", "▁the", "▁is", "▁der", *LETTERS, *map(str.upper, LETTERS), *".,?0123456789"]
SMALL = {"d_model": 24, "vocab_size": 300}
SIDES = {
    f"{side}_{name}": value
    for side in ("encoder", "decoder")
    for name, value in (("layers", 2), ("ffn_dim", 40), ("attention_heads", 3))
}


def t5(folder: Path) -> Any:
    write_model(folder / "spiece.model", PIECES)
    config = transformers.T5Config(
        **SMALL, d_kv=8, d_ff=40, num_layers=2, num_heads=3, decoder_start_token_id=0
    )
    return transformers.T5ForConditionalGeneration(config)


def bart(folder: Path) -> Any:
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = ByteLevelBPETokenizer()
    trainer.train_from_iterator(["the small frog"] * 5, 280, special_tokens=special)
    trainer.save_model(str(folder))
    config = transformers.BartConfig(**SMALL, **SIDES, max_position_embeddings=200)
    model = transformers.BartForConditionalGeneration(config)
    model.generation_config.forced_bos_token_id = 0
    model.generation_config.forced_eos_token_id = None
    model.generation_config.num_beams = 4
    return model


def marian(folder: Path) -> Any:
    special = [("</s>", 0.0, 3), ("<unk>", 0.0, 2)]
    for side in ("source", "target"):
        write_model(folder / f"{side}.spm", PIECES, special=special)
    vocabulary = ["</s>", "<unk>", *PIECES, "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({p: i for i, p in enumerate(vocabulary)}))
    pad = len(vocabulary) - 1
    config = transformers.MarianConfig(
        **{**SMALL, "vocab_size": pad + 1},
        **SIDES,
        activation_function="swish",
        max_position_embeddings=200,
        pad_token_id=pad,
        decoder_start_token_id=pad,
        eos_token_id=0,
        forced_eos_token_id=None,
        scale_embedding=True,
    )
    return transformers.MarianMTModel(config)


LIMITS = {
    "sentiment": ["max_length=190"],
    "qa": ["max_length=190", "max_question_length=90", "stride=40"],
}
PAIRS = ["max_source_length=190", "max_target_length=190"]
FAMILIES = {"t5": t5, "bart": bart, "marian": marian}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Any]]:
    """`checkpoint("t5")` is a folder and the model of transformers that it holds."""
    known: dict[str, tuple[Path, Any]] = {}

    def make(family: str) -> tuple[Path, Any]:
        if family not in known:
            folder = tmp_path_factory.mktemp(family)
            model = randomized(FAMILIES[family](folder), std=0.15)
            model.save_pretrained(folder)
            known[family] = folder, model
        return known[family]

    return make


@pytest.fixture(scope="module")
def parts(
    checkpoint: Callable[[str], tuple[Path, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Parts]:
    """`parts("t5", "translation")` is what a run is made of."""
    cache = tmp_path_factory.mktemp("cache")

    def make(family: str, task: str, *words: str) -> Parts:
        return assemble(
            compose(
                "train",
                [
                    *(f"task={task}", "model=pretrained", f"paths.cache_dir={cache}"),
                    f"model.pretrained={checkpoint(family)[0]}",
                    *("data.source.train_size=31", "data.source.validation_size=7"),
                    *("data.source.test_size=3", "decoding=greedy", "decoding.max_length=9"),
                    *(f"task.preparation.{limit}" for limit in LIMITS.get(task, PAIRS)),
                    *words,
                ],
            )
        )

    return make


def batch_of(made: Parts, count: int = 4) -> Any:
    records = [made.corpus.records("validation")[i] for i in range(count)]
    preparation = made.datamodule.preparation
    columns = preparation.encode(columns_of(records), range(count), training=False)
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return preparation.collate(rows, [records[row["index"]] for row in rows])


def labels_of(batch: PairBatch) -> Tensor:
    """(B, T - 1) what transformers is to learn: for BART, the bos after eos too."""
    assert batch.target is not None
    return batch.target.ids[:, 1:].masked_fill(~batch.target.layout.mask()[:, 1:], -100)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_loss_and_writing_are_those_of_transformers(
    family: str, parts: Callable[..., Parts], checkpoint: Callable[[str], tuple[Path, Any]]
) -> None:
    made, theirs = parts(family, "translation"), checkpoint(family)[1]
    task: Any = made.task.eval()
    batch = batch_of(made)
    source, mask = batch.source.ids, batch.source.layout.mask().long()
    given = 1 if family == "bart" else 0
    expected = theirs(
        input_ids=source,
        attention_mask=mask,
        decoder_input_ids=batch.target.ids[:, :-1],
        labels=labels_of(batch),
    ).loss
    loss = task.loss(batch)
    torch.testing.assert_close(loss.sum / loss.count, expected, atol=1e-5, rtol=1e-5)
    tokenizer = made.tokenizers.target
    never = [tokenizer.pad_id, *([0] if family == "bart" else [])]
    rows = theirs.generate(
        source,
        attention_mask=mask,
        num_beams=1,
        do_sample=False,
        max_new_tokens=9 + given,
        suppress_tokens=never if family != "bart" else [tokenizer.pad_id],
    )
    found = task.predict_batch(batch, stage="predict")
    assert [p["prediction"] for p in found] == tokenizer.decode(rows.tolist())
    assert any(p["prediction"] for p in found)


CASES = [
    *((family, task) for family in FAMILIES for task in ("translation", "summarization")),
    *(("t5", "generative_qa"), ("t5", "sentiment", "model.shape=encoder"), ("t5", "qa")),
    *(("bart", "sentiment"), ("bart", "qa", "model.shape=encoder")),
    ("marian", "sentiment", "model.shape=encoder"),
    ("marian", "translation", "model.n_layers=1", "model.n_decoder_layers=1"),
]


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_a_few_steps_lower_the_loss(case: tuple[str, ...], parts: Callable[..., Parts]) -> None:
    torch.manual_seed(1)
    still = ["task.head_dropout=0"] if case[1] == "sentiment" else []
    made = parts(*case, "optimizer.lr=0.003", "model.dropout=0", *still)
    task: Any = made.task
    batch, optimizer, losses = batch_of(made), task.make_optimizer(task), []
    task.train()
    for _ in range(4):
        loss = task.loss(batch)
        mean = loss.sum / loss.count
        optimizer.zero_grad()
        mean.backward()
        optimizer.step()
        losses.append(mean.item())
    assert losses[-1] < losses[0]
    with torch.no_grad():
        found = task.eval().predict_batch(batch, stage="predict")
    assert len(found) == 4
    shape = "encoder" if "model.shape=encoder" in case else "encoder_decoder"
    assert task.backbone.shape == shape


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["sentiment", "model.shape=decoder"], "model.shape must be 'encoder_decoder', as in"),
        (["translation", "model.n_decoder_layers=3"], "model.n_decoder_layers must be 2, as in"),
        (["sentiment", "model.shape=encoder", "model.n_decoder_layers=1"], "n_decoder_layers must"),
        (["translation", "+model.logit_scale=2"], "model.logit_scale must be 1.0, as in"),
    ],
)
def test_what_cannot_be(words: list[str], told: str, parts: Callable[..., Parts]) -> None:
    with pytest.raises(UserError) as caught:
        parts("bart", *words)
    errors = getattr(caught.value, "errors", [caught.value])
    assert any(told in str(error) for error in errors), errors
    assert isinstance(caught.value, UserErrors) == (len(errors) > 1)


def test_how_its_makers_write_is_told(
    parts: Callable[..., Parts], capsys: pytest.CaptureFixture[str]
) -> None:
    parts("bart", "translation")
    assert "its makers write with decoding=beam decoding.beam_size=4\n" in capsys.readouterr().out
    parts("bart", "sentiment")
    assert "its makers write" not in capsys.readouterr().out
