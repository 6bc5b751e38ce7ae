"""What encoder-decoders of every family are held to: logits, hidden states, greedy and beam search
against transformers' own, there and back.

Legend: B rows, S source length, T target length, V vocabulary, K beams.
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
from heed.decoding.beam import BeamDecoder
from heed.decoding.greedy import GreedyDecoder
from heed.errors import UserError
from heed.heads.vocabulary import VocabularyHead
from heed.pretrained.checkpoint import Checkpoint
from heed.pretrained.families import family_of
from heed.pretrained.family import Family
from heed.pretrained.load import Report, load_pretrained
from heed.pretrained.save import write_config, write_tensors
from heed.tasks.writers import TransformerStep

V, B, S, T = 61, 3, 9, 6
SOURCE = Padded(torch.tensor([9, 4, 7]), S)
TARGET = Padded(torch.tensor([3, 6, 5]), T)
WRITTEN = 8  # most tokens


class Loaded(NamedTuple):
    """A checkpoint in the backbone."""

    backbone: Transformer
    head: VocabularyHead
    family: Family
    values: dict[str, Any]
    report: Report


def randomized(model: Any, std: float = 0.3) -> Any:
    """Weights large enough that every part matters, norms, biases and buffers too."""
    torch.manual_seed(1)
    for weight in model.parameters():
        if weight.requires_grad:
            nn.init.normal_(weight, std=std)
    bias = getattr(model, "final_logits_bias", None)
    if bias is not None:
        nn.init.normal_(bias)
    return model.eval()


def ids(layout: Padded, pad: int, vocabulary: int = V) -> Tensor:
    """Tokens that are no special ones, and padding behind them."""
    torch.manual_seed(2)
    drawn = torch.randint(4, vocabulary - 1, (layout.rows, layout.width))
    return drawn.masked_fill(~layout.mask(), pad)


def read(folder: Path, **given: Any) -> Loaded:
    """What a folder of transformers' is as ours; `given` replaces values of the checkpoint."""
    checkpoint = Checkpoint(str(folder))
    family = family_of(checkpoint.model_type, name=checkpoint.name)
    values = {**family.values(checkpoint.config), **given}
    torch.manual_seed(0)
    backbone = Transformer(**values).eval()
    head = VocabularyHead.of(backbone).eval()
    report = load_pretrained(checkpoint, family, values, backbone, head)
    return Loaded(backbone, head, family, values, report)


def saved(made: Any, folder: Path, change: Any = None, **config: Any) -> Path:
    """A model's folder; `change` alters its tensors, `config` the keys of its config.json."""
    made.save_pretrained(folder)
    if change is not None:
        path = folder / "model.safetensors"
        save_file(change(load_file(path)), path, metadata={"format": "pt"})
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    return folder


def refused(folder: Path, what: str) -> None:
    """Reading it tells a mistake."""
    with pytest.raises(UserError, match=what):
        read(folder)


def close(found: Tensor, expected: Tensor) -> None:
    """Equal within 1e-5."""
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def check_numbers(theirs: Any, folder: Path) -> Loaded:
    """Hidden states and logits: of all positions at once, one by one, and written back."""
    theirs = randomized(theirs)
    theirs.save_pretrained(folder / "theirs")
    loaded = read(folder / "theirs")
    assert loaded.report.fresh == []
    backbone, head, pad = loaded.backbone, loaded.head, theirs.config.pad_token_id
    source, target = ids(SOURCE, pad), ids(TARGET, pad, backbone.target_vocabulary_size)
    mask, real = SOURCE.mask().long(), TARGET.mask()
    expected = theirs(
        input_ids=source, attention_mask=mask, decoder_input_ids=target, output_hidden_states=True
    )
    memory = backbone.encode(source, SOURCE)
    close(memory[SOURCE.mask()], expected.encoder_last_hidden_state[SOURCE.mask()])
    hidden = backbone.decode(target, TARGET, memory, SOURCE)
    close(hidden[real], expected.decoder_hidden_states[-1][real])
    close(head(hidden)[real], expected.logits[real])
    cache = backbone.new_cache()
    steps = [backbone.decode(target[:, t : t + 1], None, memory, SOURCE, cache) for t in range(T)]
    close(head(torch.cat(steps, dim=1))[real], expected.logits[real])
    again = write(loaded, folder / "ours", type(theirs), theirs.config.pad_token_id)
    found = again(input_ids=source, attention_mask=mask, decoder_input_ids=target)
    close(found.logits[real], expected.logits[real])
    return loaded


def write(loaded: Loaded, folder: Path, model_class: Any, pad: int) -> Any:
    """Ours as transformers reads it; everything it needs is there, and nothing else."""
    state = loaded.backbone.state_dict(), loaded.head.state_dict()
    tensors = write_tensors(loaded.family, loaded.values, *state, "vocabulary")
    config = write_config(loaded.family, loaded.values, "vocabulary")
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**config, "pad_token_id": pad}))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    model, info = model_class.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"], info
    assert not info["unexpected_keys"], info
    assert not info["mismatched_keys"], info
    assert config["architectures"] == [type(model).__name__]
    return model.eval()


def begun_step(loaded: Loaded, memory: Tensor, begun: list[int]) -> TransformerStep:
    """A step with a cache that has seen what a target begins with, but for the last token."""
    step = TransformerStep(loaded.backbone, loaded.head, memory, SOURCE)
    for token in begun:
        step(torch.full((B,), token))
    return step


class WithoutCache:
    """A step that reads all that is written again for every token."""

    def __init__(self, loaded: Loaded, memory: Tensor, begun: list[int]) -> None:
        self.loaded = loaded
        self.memory, self.layout = memory, SOURCE
        self.written = torch.tensor([begun] * B, dtype=torch.long)

    def __call__(self, tokens: Tensor) -> Tensor:
        self.written = torch.cat((self.written, tokens[:, None]), dim=1)
        hidden = self.loaded.backbone.decode(self.written, None, self.memory, self.layout)
        return self.loaded.head(hidden[:, -1])

    def reorder(self, rows: Tensor) -> None:
        self.memory, self.written = self.memory[rows], self.written[rows]
        self.layout = Padded(self.layout.lengths[rows], S)


@torch.no_grad()
def check_writing(
    theirs: Any, folder: Path, start: list[int], length_penalty: float = 1.0, **rules: Any
) -> None:
    """Greedy and beam search write what `generate` does, with and without the cache. A text ends
    with a token that the model likes to write, so that some end early.

    Args:
        theirs: A model of transformers.
        folder: For its files.
        start: What every target begins with; given to both.
        length_penalty: Of the beam search.
        rules: More of what `generate` takes.
    """
    theirs.save_pretrained(folder)
    loaded = read(folder)
    pad = theirs.config.pad_token_id
    source = ids(SOURCE, pad)
    mask = SOURCE.mask().long()
    rules = {
        **{"suppress_tokens": sorted({pad, start[-1]}), "max_new_tokens": WRITTEN},
        **{"decoder_input_ids": torch.tensor([start] * B), "do_sample": False},
        **{"forced_bos_token_id": None, "forced_eos_token_id": None, "bad_words_ids": None},
        **rules,
    }
    endless = theirs.generate(source, attention_mask=mask, num_beams=1, eos_token_id=V, **rules)
    eos = int(endless[0, len(start) + 2])
    rules["eos_token_id"] = eos
    memory = loaded.backbone.encode(source, SOURCE)
    ended = 0
    for beams in (1, 4):
        decoder: Any = GreedyDecoder(max_length=WRITTEN)
        if beams > 1:
            decoder = BeamDecoder(
                beam_size=beams,
                length_penalty=length_penalty,
                early_stopping=True,
                max_length=WRITTEN,
            )
            rules |= {"early_stopping": True, "length_penalty": length_penalty}
        rows = theirs.generate(source, attention_mask=mask, num_beams=beams, **rules)
        expected = [_until(row[len(start) :].tolist(), eos) for row in rows]
        *begun, last = start
        for step in (
            begun_step(loaded, memory, begun),
            WithoutCache(loaded, memory, begun),
        ):
            found = decoder(step, batch_size=B, bos_id=last, eos_id=eos, pad_id=pad)
            assert [hypotheses[0].tokens for hypotheses in found] == expected
        ended += sum(len(row) < WRITTEN for row in expected)
    assert ended > 1


def _until(row: list[int], eos: int) -> list[int]:
    return row[: row.index(eos)] if eos in row else row
