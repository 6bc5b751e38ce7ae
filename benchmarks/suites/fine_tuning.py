"""Fine-tuning a BERT to label sentences: `heed train` beside the Trainer of transformers.

Without `--checkpoint` both begin with the same random weights, of the sizes of MiniLM: what a step
costs does not depend on them. Accuracy on real data: `benchmarks/fine_tuning.py`.
"""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import Any

import torch
from harness import training_arms as arms
from harness.results import Result, Row
from harness.settings import Settings
from harness.turns import Lane, Turnstile, in_turns

from heed.commands.assemble import Parts, assemble
from heed.commands.compose import compose

BATCH, RATE, DROPOUT = 32, 5e-5, 0.1
SENTENCES, CPU = "sentences/s", "CPU ms a step"
HEED, PEER = "heed train", "transformers Trainer"


def measure(asked: Settings) -> list[Result]:
    """The same sentences in the same batches."""
    result = Result(
        "fine_tuning",
        f"fine-tuning a BERT on sentences, batches of {BATCH}",
        asked.device,
        settings={
            "checkpoint": "given" if asked.checkpoint else "random weights, sizes of MiniLM",
            "precision": asked.own_precision,
        },
    )
    if not importlib.util.find_spec("transformers"):
        result.notes.append("transformers, which makes the checkpoint, is not installed")
        return [result]
    folder = asked.checkpoint or random_checkpoint(asked)
    config, parts = prepared(folder, asked)
    lanes = [arms.heed_train(HEED, config, parts, asked, counted=len)]
    if importlib.util.find_spec("accelerate"):
        lanes.append(trainer(folder, parts, asked))
    else:
        result.notes.append("accelerate is not installed: no Trainer")
    steps = 1 if asked.quick else 20 if asked.device == "cuda" else 4
    turns = in_turns(lanes, rounds=asked.rounds, steps=steps, warm_up=steps)
    for name, own in turns.items():
        result.rows.append(Row(name, SENTENCES, [turn.tokens / turn.wall for turn in own]))
        result.rows.append(Row(name, CPU, [1000 * turn.cpu / turn.steps for turn in own]))
    result.compare(HEED, PEER, SENTENCES)
    result.compare(HEED, PEER, CPU, better="lower")
    return [result]


def prepared(folder: Path, asked: Settings) -> tuple[dict[str, Any], Parts]:
    """The config of the fine-tuning and its parts, with the rows encoded."""
    words = [
        *("task=sentiment", "model=pretrained", f"model.pretrained={folder}"),
        *(f"data.batch_size={BATCH}", "data.max_tokens=null", f"optimizer.lr={RATE}"),
        *("trainer.max_steps=1000000", "trainer.max_epochs=-1", "trainer.limit_val_batches=0"),
        f"trainer={'gpu' if asked.device == 'cuda' else 'cpu'}",
        f"paths.cache_dir={asked.work / 'cache'}",
    ]
    config = compose("train", words)
    parts = assemble(config)
    parts.datamodule.prepare_data()
    parts.datamodule.setup("fit")
    return config, parts


def trainer(folder: Path, parts: Parts, asked: Settings) -> Lane:
    """The Trainer of transformers on Heed's batches, made beforehand."""
    loader = parts.datamodule.train_dataloader()
    batches = [of_peer(batch) for _, batch in zip(range(64), loader, strict=False)]

    def loop(turnstile: Turnstile) -> None:
        from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments

        class OnBatches(Trainer):
            def get_train_dataloader(self) -> Any:
                return turnstile

        OnBatches(
            model=AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2),
            args=TrainingArguments(
                output_dir=tempfile.mkdtemp(prefix="trainer-", dir=asked.work),
                max_steps=1_000_000,
                learning_rate=RATE,
                optim="adamw_torch_fused",
                bf16=asked.own_precision == "bf16",
                use_cpu=asked.device == "cpu",
                logging_steps=50,
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
            ),
        ).train()

    return Lane(PEER, loop, batches, tokens=lambda batch: len(batch["labels"]), settle=asked.settle)


def of_peer(batch: Any) -> dict[str, torch.Tensor]:
    """A batch as transformers takes it."""
    ids, layout = batch.tokens.ids, batch.tokens.layout
    return {"input_ids": ids, "attention_mask": layout.mask().long(), "labels": batch.labels}


def random_checkpoint(asked: Settings) -> Path:
    """A BERT that has learned nothing, with a vocabulary of the generated sentences."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel

    from heed.data.builtin.generate import generate

    folder = asked.work / "bert"
    folder.mkdir()
    rows = generate("sentiment", "train", size=500 if asked.quick else 5000, seed=0)
    vocabulary = BertWordPieceTokenizer(lowercase=True)
    vocabulary.train_from_iterator([str(row["text"]) for row in rows], vocab_size=2000)
    vocabulary.save_model(str(folder))
    width, layers = (32, 1) if asked.quick else (384, 6)
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=30_522,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        intermediate_size=4 * width,
        hidden_dropout_prob=DROPOUT,
        attention_probs_dropout_prob=DROPOUT,
    )
    BertModel(config).save_pretrained(folder)
    return folder
