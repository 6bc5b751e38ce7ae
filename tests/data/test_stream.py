"""A streamed corpus: every row once a pass, the same batches from any place, nobody's twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heed.data.corpus import Corpus
from heed.data.pairs import PairPreparation
from heed.data.records import Pairs
from heed.data.sources import FileSource, HubSource
from heed.data.stream import BatchStream, Place
from heed.data.streamed_module import StreamedDataModule
from heed.data.token_rows import TokenRows, concatenated
from heed.errors import UserError
from heed.text.train import train_tokenizer

ROWS = 101
TOKENIZER = train_tokenizer(["one two three four"], algorithm="bpe", vocabulary_size=271)
PREPARATION = PairPreparation(
    source_tokenizer=TOKENIZER,
    target_tokenizer=TOKENIZER,
    max_source_length=64,
    max_target_length=64,
)


def write(folder: Path, files: int = 1, rows: int = ROWS) -> Path:
    """Rows in as many files; the number of a row is its source."""
    for file in range(files):
        name = f"train-{file:05}-of-{files:05}.jsonl" if files > 1 else "train.jsonl"
        lines = [
            json.dumps({"source": f"{i}", "target": "one " * (1 + i % 7)})
            for i in range(file, rows, files)
        ]
        (folder / name).write_text("\n".join(lines) + "\n")
    (folder / "dev.jsonl").write_text('{"source": "a", "target": "b"}\n')
    return folder


def module(folder: Path, **changes: Any) -> StreamedDataModule:
    source = changes.pop("source", None) or FileSource(path=str(folder))
    settings: dict[str, Any] = {
        "max_tokens": 200,
        "batch_size": None,
        "eval_max_tokens": None,
        "seed": 7,
        "num_workers": 0,
        "limit_examples": None,
        "shuffle_buffer": 40,
        "cache_dir": str(folder / "cache"),
    }
    corpus = Corpus(
        source=source,
        kind=Pairs(),
        cache_dir=str(folder / "cache"),
        streamed=True,
        invalid=changes.pop("invalid", "drop"),
    )
    return StreamedDataModule(corpus=corpus, preparation=PREPARATION, **{**settings, **changes})


def sources(batch: Any) -> list[int]:
    """The numbers of a batch's rows."""
    rows = zip(batch.source.ids.tolist(), batch.source.layout.lengths.tolist(), strict=True)
    return [int(TOKENIZER.decode([row[:length]])[0]) for row, length in rows]


def some(batches: Any, count: int) -> list[list[int]]:
    return [sources(batch) for batch in islice(batches, count)]


def stream_of(data: StreamedDataModule, rank: int, world: int, workers: int = 1) -> BatchStream:
    return BatchStream(
        records=data._records,
        preparation=PREPARATION,
        sampler=lambda lengths, seed: data._sampler_over(world, lengths, seed),
        block_records=10,
        seed=7,
        rank=rank,
        world_size=world,
        places=[Place()] * workers,
    )


def first_pass(data: StreamedDataModule, rank: int, world: int) -> Iterator[int]:
    for batch, _, place in stream_of(data, rank, world):
        if place.done:
            return
        yield from sources(batch)


@pytest.mark.parametrize("files", [1, 3, 4])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_every_row_comes_once_a_pass_to_one_process(tmp_path: Path, files: int, world: int) -> None:
    data = module(write(tmp_path, files))
    shares = [list(first_pass(data, rank, world)) for rank in range(world)]

    assert sorted(sum(shares, [])) == list(range(ROWS))
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= files


def test_a_stream_does_not_end_and_passes_differ(tmp_path: Path) -> None:
    batches = iter(module(write(tmp_path)).train_dataloader())
    found = [row for batch in some(batches, 60) for row in batch]
    passes = [found[i * ROWS : (i + 1) * ROWS] for i in range(3)]

    assert all(sorted(one) == list(range(ROWS)) for one in passes)
    assert passes[0] != passes[1] != passes[2]
    assert passes[0] != list(range(ROWS))  # shuffled
    assert sorted(passes[0][:40]) == list(range(40))  # within the buffer


def test_batches_keep_to_the_budget_with_little_padding(tmp_path: Path) -> None:
    batches = list(islice(module(write(tmp_path), shuffle_buffer=101).train_dataloader(), 30))
    assert all(batch.token_positions <= 200 for batch in batches)
    real = sum(batch.real_tokens for batch in batches)
    assert real / sum(batch.token_positions for batch in batches) > 0.8


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_it_goes_on_with_the_very_same_batches(tmp_path: Path, workers: int) -> None:
    folder = write(tmp_path)
    data = module(folder, num_workers=workers)
    batches = iter(data.train_dataloader())
    for _ in range(7):
        next(batches)
        data.advance()
    next(batches)  # fetched ahead, not trained on
    state = json.loads(json.dumps(data.state_dict()))  # as a checkpoint would hold it
    assert state["position"] == 7

    whole = some(module(folder, num_workers=workers).train_dataloader(), 40)
    again = module(folder, num_workers=workers)
    again.load_state_dict(state)
    assert again.state_dict() == state
    assert some(again.train_dataloader(), 33) == whole[7:]


def test_workers_have_rows_of_their_own(tmp_path: Path) -> None:
    data = module(write(tmp_path))
    seen: Counter[int] = Counter()
    for slot in range(2):
        stream = stream_of(data, 0, 1, workers=2)
        stream.turn = slot  # as the loader's worker `slot` has it
        for batch, given, place in stream:
            if place.done:
                break
            assert given == slot
            seen.update(sources(batch))
    assert seen == Counter(range(ROWS))


def test_batches_left_out_are_passed_over_and_stay_out(tmp_path: Path) -> None:
    folder = write(tmp_path)
    whole = some(module(folder).train_dataloader(), 9)
    data = module(folder)
    batches = iter(data.train_dataloader())
    next(batches)
    data.advance()
    assert data.next_place() == (0, 1)
    data.leave_out([(0, 1), (0, 4)])

    batches = iter(data.train_dataloader())
    assert data.next_place() == (0, 2)
    assert sources(next(batches)) == whole[2]
    data.advance()
    again = module(folder)
    again.load_state_dict(data.state_dict())
    assert some(again.train_dataloader(), 5) == [whole[i] for i in (3, 5, 6, 7, 8)]


def test_other_processes_or_workers_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path)
    data = module(folder)
    next(iter(data.train_dataloader()))
    data.advance()
    other = module(folder, num_workers=2)
    other.load_state_dict(data.state_dict())
    with pytest.raises(UserError, match=r"as many processes and workers as it had \(1 and 1\)"):
        other.train_dataloader()
    with pytest.raises(UserError, match="must go on from a checkpoint of one"):
        data.load_state_dict({"epoch": 1, "position": 3})


def test_more_shards_than_rows_are_refused(tmp_path: Path) -> None:
    data = module(write(tmp_path, rows=2))
    with pytest.raises(UserError, match="a valid row for each of 3 shards .* shard 2 has none"):
        next(iter(stream_of(data, 2, 3)))


def test_invalid_rows_are_passed_over_or_refused(tmp_path: Path) -> None:
    write(tmp_path, rows=3)
    with (tmp_path / "train.jsonl").open("a") as file:
        file.write('{"source": "", "target": "x"}\n{"source": "9", "target": "x"}\n')
    assert sorted(first_pass(module(tmp_path), 0, 1)) == [0, 1, 2, 9]
    with pytest.raises(UserError, match=r"train.jsonl row 4 has a fault: source is empty"):
        list(first_pass(module(tmp_path, invalid="error"), 0, 1))


def test_only_the_first_examples_where_a_limit_is_set(tmp_path: Path) -> None:
    data = module(write(tmp_path), limit_examples=11)
    shares = [list(first_pass(data, rank, 2)) for rank in range(2)]
    assert sorted(sum(shares, [])) == list(range(11))


def test_nothing_of_the_training_rows_is_cached_and_changed_files_are_known(tmp_path: Path) -> None:
    data = module(write(tmp_path))
    data.prepare_data()
    next(iter(data.train_dataloader()))
    facts = data.statistics()
    assert facts["train"] == {"streamed": True, "fingerprint": data.corpus.fingerprint("train")}
    assert facts["validation"]["records"] == 1
    kept = [path.name for path in (tmp_path / "cache" / "records").iterdir() if path.is_dir()]
    assert kept == [data.corpus.fingerprint("validation")[:32]]

    with (tmp_path / "train.jsonl").open("a") as file:
        file.write('{"source": "1", "target": "x"}\n')
    assert module(tmp_path).corpus.fingerprint("train") != data.corpus.fingerprint("train")


def test_a_tokenizer_is_trained_on_the_first_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heed.data.corpus.STREAMED_TEXTS", 5)
    corpus = module(write(tmp_path)).corpus
    assert list(corpus.texts("train", "source")) == [str(i) for i in range(5)]


def test_a_data_set_of_the_hub_is_streamed_by_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    write(tmp_path, files=3)
    real, asked = datasets.load_dataset, []

    def local(name: str, config: Any, **options: Any) -> Any:
        asked.append((name, options.pop("revision"), options.pop("trust_remote_code")))
        return real(
            "json", data_files=[str(p) for p in sorted(tmp_path.glob("train-*"))], **options
        )

    monkeypatch.setattr(datasets, "load_dataset", local)
    hub = HubSource(
        hub="nobody/streamed-rows",
        hub_config=None,
        revision="v1",
        splits={"train": "train", "validation": None, "test": None},
        path=None,
        files=None,
    )
    data = module(tmp_path, source=hub)
    assert sorted(first_pass(data, 0, 1)) == list(range(ROWS))
    shares = [list(first_pass(data, rank, 3)) for rank in range(3)]
    assert [sorted({row % 3 for row in share}) for share in shares].count([0]) == 1  # whole files
    assert sorted(sum(shares, [])) == list(range(ROWS))
    assert set(asked) == {("nobody/streamed-rows", "v1", False)}


def test_token_rows_one_part_after_another() -> None:
    def rows(numbers: list[int]) -> TokenRows:
        columns = {"index": numbers, "text": [[n] * n for n in numbers]}
        return TokenRows.of(columns, ["text"])

    whole = concatenated([rows([3, 0]), rows([]), rows([2]).take([0, 0])])
    assert whole.scalars("index").tolist() == [3, 0, 2, 2]
    assert whole.ragged("text").tolist() == [[3, 3, 3], [], [2, 2], [2, 2]]
    assert np.array_equal(whole[2]["text"], [2, 2])
