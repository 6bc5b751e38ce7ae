"""The data module under Lightning: loaders, the place in the data, prediction, statistics."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from heed.data.corpus import Corpus
from heed.data.labelled_text import LabelledTextPreparation
from heed.data.module import DataModule
from heed.data.pairs import PairPreparation
from heed.data.passages import PassagePreparation
from heed.data.records import record_kind
from heed.data.sampler import TokenBudgetSampler
from heed.data.sources import FileSource
from heed.errors import UserError
from heed.text.train import train_tokenizer

SHARED = Path(__file__).parents[3] / "shared" / "data"
TOKENIZER = train_tokenizer(["one two three: where is it?"], algorithm="bpe", vocabulary_size=271)

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),  # Lightning's
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
    pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* not empty"),
    pytest.mark.filterwarnings("ignore:.*is smaller than the logging interval"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]


def write_pairs(folder: Path) -> Path:
    rng = np.random.default_rng(2)
    for split, count in (("train", 211), ("validation", 31), ("test", 29)):
        with (folder / f"{split}.jsonl").open("w") as file:
            for i in range(count):
                source = f"{split} {i} " + "two " * int(rng.integers(0, 9))
                row = {"source": source, "target": "three " * int(rng.integers(1, 7))}
                file.write(json.dumps(row) + "\n")
        with (folder / f"{split}.jsonl").open("a") as file:
            file.write(json.dumps({"source": "", "target": "nothing to read"}) + "\n")
    return folder


@pytest.fixture(scope="module")
def pairs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def pair_module(folder: Path, cache: Path, **changes: Any) -> DataModule:
    values: dict[str, Any] = {
        "corpus": Corpus(
            source=FileSource(path=str(folder)), kind=record_kind("pairs"), cache_dir=str(cache)
        ),
        "preparation": PairPreparation(
            source_tokenizer=TOKENIZER,
            target_tokenizer=TOKENIZER,
            max_source_length=29,
            max_target_length=31,
        ),
        "max_tokens": 700,
        "batch_size": None,
        "eval_max_tokens": None,
        "seed": 3,
        "num_workers": 0,
        "cache_dir": str(cache),
        "limit_examples": None,
    }
    return DataModule(**{**values, **changes})


def test_each_loader_gives_every_row_once(pairs_folder: Path, cache: Path) -> None:
    data = pair_module(pairs_folder, cache, eval_max_tokens=300)
    data.prepare_data()
    data.setup()

    for loader, count, budget, named in (
        (data.train_dataloader(), 211, 700, False),
        (data.val_dataloader(), 31, 300, True),
        (data.test_dataloader(), 29, 300, True),
    ):
        batches = list(loader)
        assert len(batches) == len(loader) > 1
        assert sorted(itertools.chain(*(b.indices for b in batches))) == list(range(count))
        assert all(batch.token_positions <= budget for batch in batches)
        assert all((batch.records is not None) == named for batch in batches)


def test_evaluation_batches_carry_their_records(pairs_folder: Path, cache: Path) -> None:
    data = pair_module(pairs_folder, cache)
    for batch in data.val_dataloader():
        assert batch.target is not None
        targets = TOKENIZER.decode(batch.target.ids.tolist())
        for (index, record), target in zip(batch.examples, targets, strict=True):
            assert record == data.records("validation")[index]
            assert record["source"].startswith(f"validation {index}")
            assert record["references"] == [record["target"]]
            assert record["target"].startswith(target)


def test_limits_on_examples_take_the_first(pairs_folder: Path, cache: Path) -> None:
    data = pair_module(pairs_folder, cache, limit_examples=13)

    assert sorted(itertools.chain(*(b.indices for b in data.train_dataloader()))) == list(range(13))
    assert len(data.rows("validation")) == 13


def test_worker_processes_give_the_same_batches(pairs_folder: Path, cache: Path) -> None:
    alone = list(pair_module(pairs_folder, cache).train_dataloader())
    helped = list(pair_module(pairs_folder, cache, num_workers=1).train_dataloader())

    assert [b.indices for b in alone] == [b.indices for b in helped]
    assert all(torch.equal(a.source.ids, h.source.ids) for a, h in zip(alone, helped, strict=True))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"max_tokens": None}, "data.max_tokens or data.batch_size must be given"),
        ({"num_workers": -1}, "data.num_workers must be at least 0, but is -1"),
        ({"limit_examples": 0}, "data.limit_examples must be at least 1, but is 0"),
        ({"eval_max_tokens": 0}, "data.eval_max_tokens must be at least 1, but is 0"),
    ],
)
def test_useless_values_are_refused(
    pairs_folder: Path, cache: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        pair_module(pairs_folder, cache, **changes)


class Recorder(pl.LightningModule):
    """Learns next to nothing and remembers every training batch it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[int, tuple[int, ...]]] = []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.seen.append((self.trainer.current_epoch, tuple(batch.indices)))
        return self.weight * batch.source.ids.float().mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        assert batch.records is not None

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


class Advance(pl.Callback):
    """Says what was trained on."""

    def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
        trainer.datamodule.advance()


def fit(data: DataModule, folder: Path, *, ckpt_path: Any = None, **settings: Any) -> Recorder:
    model = Recorder()
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        callbacks=[
            Advance(),
            ModelCheckpoint(
                folder,
                filename="{step}",
                save_top_k=-1,
                every_n_train_steps=1,
                enable_version_counter=False,
            ),
        ],
        **settings,
    )
    trainer.fit(model, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    return model


@pytest.mark.parametrize("limit", [None, 5])
@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_resumed_run_sees_the_batches_that_were_left(
    pairs_folder: Path, cache: Path, tmp_path: Path, limit: int | None, num_workers: int
) -> None:
    settings: dict[str, Any] = {"max_epochs": 3, "limit_train_batches": limit}
    whole = fit(pair_module(pairs_folder, cache), tmp_path, **settings).seen

    batches = limit or len(pair_module(pairs_folder, cache).train_dataloader())
    assert len(whole) == 3 * batches
    for epoch in range(3):
        rows = [r for e, indices in whole if e == epoch for r in indices]
        assert len(rows) == len(set(rows))
        assert limit or sorted(rows) == list(range(211))
    assert whole[:batches] != [(0, rows) for _, rows in whole[batches : 2 * batches]]

    # in the middle of an epoch, one before its end, at its end, at its start
    steps = (2, batches) if num_workers else (2, batches - 1, batches, batches + 1, 2 * batches)
    for step in steps:
        resumed = fit(
            pair_module(pairs_folder, cache, num_workers=num_workers),
            tmp_path / "resumed",
            ckpt_path=tmp_path / f"step={step}.ckpt",
            **settings,
        ).seen
        assert resumed == whole[step:], step


def test_checkpoints_of_an_epochs_end_resume_with_the_next(
    pairs_folder: Path, cache: Path, tmp_path: Path
) -> None:
    """A checkpoint saved after validation, when Lightning has not closed the epoch yet."""
    model, data = Recorder(), pair_module(pairs_folder, cache)
    saved = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1, save_last=False)
    options: dict[str, Any] = {
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
        "max_epochs": 3,
    }
    pl.Trainer(callbacks=[Advance(), saved], **options).fit(model, datamodule=data)
    resumed = Recorder()
    pl.Trainer(callbacks=[Advance()], enable_checkpointing=False, **options).fit(
        resumed,
        datamodule=pair_module(pairs_folder, cache),
        ckpt_path=tmp_path / "epoch=0.ckpt",
        weights_only=True,
    )

    assert resumed.seen == [one for one in model.seen if one[0] > 0]


def test_a_second_fit_starts_at_the_first_epoch(
    pairs_folder: Path, cache: Path, tmp_path: Path
) -> None:
    data = pair_module(pairs_folder, cache)
    first = fit(data, tmp_path, max_epochs=2).seen
    second = fit(data, tmp_path, max_epochs=2).seen

    assert second == first


def test_overfitting_sees_the_same_batches_in_every_epoch(
    pairs_folder: Path, cache: Path, tmp_path: Path
) -> None:
    seen = fit(pair_module(pairs_folder, cache), tmp_path, max_epochs=3, overfit_batches=2).seen

    assert [rows for _, rows in seen[:2]] * 3 == [rows for _, rows in seen]


def test_the_state_is_two_numbers(pairs_folder: Path, cache: Path) -> None:
    data = pair_module(pairs_folder, cache)
    assert data.state_dict() == {"epoch": 0, "position": 0}

    loader = data.train_dataloader()
    for _ in range(len(loader) + 2):
        data.advance()
    assert data.state_dict() == {"epoch": 1, "position": 2}
    data.set_epoch(1)
    assert data.state_dict() == {"epoch": 1, "position": 2}
    data.set_epoch(2)
    assert data.state_dict() == {"epoch": 2, "position": 0}

    other = pair_module(pairs_folder, cache)
    other.load_state_dict({"epoch": 1, "position": 2})
    assert other.state_dict() == {"epoch": 1, "position": 2}
    data.set_epoch(1)
    rest = [batch.indices for batch in other.train_dataloader()]
    assert rest == [batch.indices for batch in loader][2:]


def test_processes_take_their_shares(pairs_folder: Path, cache: Path) -> None:
    class Place:
        """What of a trainer the module asks when there are three processes."""

        world_size, current_epoch, overfit_batches, state = 3, 0, 0, None
        strategy = type("Strategy", (), {"root_device": torch.device("cpu")})

        def __init__(self, rank: int) -> None:
            self.global_rank = rank

    shares = []
    for rank in range(3):
        data = pair_module(pairs_folder, cache)
        data.trainer = Place(rank)  # type: ignore[assignment]
        shares.append((list(data.train_dataloader()), list(data.val_dataloader())))

    for part, count in ((0, 211), (1, 31)):
        batches = [share[part] for share in shares]
        assert len({len(one) for one in batches}) == 1
        rows = [row for one in batches for batch in one for row in batch.indices]
        assert sorted(rows) == list(range(count))


def test_prediction_reads_no_further_than_it_must(pairs_folder: Path, cache: Path) -> None:
    data = pair_module(pairs_folder, cache)
    read = 0

    def endless() -> Iterator[dict[str, Any]]:
        nonlocal read
        for i in itertools.count():
            read += 1
            yield {"source": f"number {i} " + "two " * (i % 11)}

    batches = data.predict_batches(endless(), chunk_records=50)
    seen: list[int] = []
    while len(seen) < 150:
        batch = next(batches)
        assert batch.target is None
        assert batch.token_positions <= 700
        for index, record in batch.examples:
            assert record["source"].startswith(f"number {index} ")
        seen += batch.indices
        assert read == 50 * -(-len(seen) // 50)
    assert [sorted(seen[i : i + 50]) for i in (0, 50, 100)] == [
        list(range(i, i + 50)) for i in (0, 50, 100)
    ]


def test_prediction_in_chunks_knows_its_records(pairs_folder: Path, cache: Path) -> None:
    data = pair_module(pairs_folder, cache)
    records = [{"source": f"two {i} " * (1 + i % 5)} for i in range(23)]

    found = []
    for chunk, batches in data.predict_chunks(iter(records), chunk_records=10):
        order = sorted(index for batch in batches for index in batch.indices)
        assert len(order) == len(chunk)
        found += chunk
    assert found == records


def write_passages(folder: Path) -> Path:
    for split, count in (("train", 17), ("validation", 23)):
        with (folder / f"{split}.jsonl").open("w") as file:
            for i in range(count):
                words = [f"w{i}-{j}" for j in range(1 + 5 * (i % 9))]
                row = {"question": f"where is w{i}-0?", "context": " ".join(words)}
                file.write(json.dumps({**row, "answers": [words[0]]}) + "\n")
    return folder


def passage_module(folder: Path, cache: Path) -> DataModule:
    return pair_module(
        folder,
        cache,
        corpus=Corpus(
            source=FileSource(path=str(folder)), kind=record_kind("passages"), cache_dir=str(cache)
        ),
        preparation=PassagePreparation(
            tokenizer=TOKENIZER, max_length=47, stride=11, max_question_length=17
        ),
        max_tokens=300,
    )


def test_windows_of_a_passage_are_evaluated_and_predicted_together(
    tmp_path: Path, cache: Path
) -> None:
    data = passage_module(write_passages(tmp_path), cache)
    rows = data.rows("validation")
    assert len(rows) > 3 * 23
    records = [
        {"question": r["question"], "context": r["context"]} for r in data.records("validation")
    ]

    for batches in (list(data.val_dataloader()), list(data.predict_batches(iter(records)))):
        together = [index for batch in batches for index, _ in batch.examples]
        assert sorted(together) == list(range(23))
        assert sum(len(batch) for batch in batches) == len(rows)
        for batch in batches:
            assert batch.offsets is not None
            assert len(batch.examples) == 1 or batch.token_positions <= 300


def test_statistics_say_what_was_read_cut_and_dropped(pairs_folder: Path, cache: Path) -> None:
    data = pair_module(pairs_folder, cache)
    found = data.statistics(("train", "validation", "test"))

    train = found["train"]
    assert json.loads(json.dumps(found)) == found  # plain values
    assert (train["records"], train["rows"]) == (211, 211)
    sources = TOKENIZER.encode(data.records("train")["source"])
    lengths = np.array([min(len(ids), 28) + 1 for ids in sources])
    assert train["tokens"]["source"] == int(lengths.sum())
    assert train["lengths"]["source"]["p50"] == float(np.median(lengths))
    assert train["lengths"]["source"]["max"] == float(lengths.max()) == 29.0
    assert train["cut_rows"] == sum(len(ids) > 28 for ids in sources) > 0
    assert train["cut_tokens"] == sum(max(0, len(ids) - 28) for ids in sources)
    (fault,) = train["dropped"].values()
    assert fault["count"] == 1
    assert next(iter(train["dropped"])) == "source is empty"
    assert "train.jsonl row 212" in fault["first"][0]

    loader = data.train_dataloader()
    assert isinstance(loader.sampler, TokenBudgetSampler)
    positions = sum(batch.token_positions for batch in loader)
    real = sum(batch.real_tokens for batch in loader)
    assert train["batches"] == len(loader)
    assert train["padding_share"] == pytest.approx(1 - real / positions, abs=1e-6)
    assert found["test"]["fingerprint"] != train["fingerprint"]
    assert found["test"]["rows"] == 29
    assert "batches" not in found["test"]


@pytest.mark.skipif(not SHARED.exists(), reason="needs the shared data sets")
def test_real_reviews_become_batches(tmp_path: Path) -> None:
    corpus = Corpus(
        source=FileSource(
            path=str(SHARED / "sst2"),
            files={"train": "train_sentences.tsv.gz", "validation": "dev.tsv.gz"},
        ),
        kind=record_kind("labelled_text", labels=["negative", "positive"]),
        columns={"text": "sentence", "label": "label"},
        cache_dir=str(tmp_path),
    )
    tokenizer = train_tokenizer(corpus.texts("train"), algorithm="bpe", vocabulary_size=2003)
    data = pair_module(
        tmp_path,
        tmp_path,
        corpus=corpus,
        preparation=LabelledTextPreparation(
            tokenizer=tokenizer, labels=["negative", "positive"], max_length=61
        ),
        max_tokens=2048,
    )
    seen = 0
    for batch in data.train_dataloader():
        assert batch.labels is not None
        assert batch.token_positions <= 2048
        seen += len(batch)
    assert seen == 6920
    assert data.statistics(("train",))["train"]["padding_share"] < 0.05
    texts = {i: r["text"] for batch in data.val_dataloader() for i, r in batch.examples}
    assert len(texts) == 872
