"""Ways to train one encoder-decoder: Heed, Heed's model in a bare loop, and peers."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.corpus import Pairs
from harness.settings import Settings
from harness.turns import Lane, Turnstile
from heed.commands.assemble import Parts
from heed.commands.session import build_trainer

SMOOTHING, CLIP = 0.1, 1.0
COMPILED = 2
"""Batches of an arm whose steps are compiled for each shape."""


def real_tokens(batch: Any) -> int:
    """Source and target tokens of a batch without padding."""
    return int(batch.real_tokens)


class GatedLoader:
    """A loader whose batches are handed out when it is their loop's turn."""

    def __init__(self, loader: Any, turnstile: Turnstile) -> None:
        self._loader = loader
        self._turnstile = turnstile
        self.sampler = loader.sampler

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        return self._turnstile.through(self._loader)


def heed_train(
    name: str,
    config: dict[str, Any],
    parts: Parts,
    asked: Settings,
    counted: Callable[[Any], int] = real_tokens,
) -> Lane:
    """All of what `heed train` does in training: its loader, callbacks, logs and checkpoints."""

    def loop(turnstile: Turnstile) -> None:
        datamodule: Any = parts.datamodule
        of_heed = datamodule.train_dataloader
        datamodule.train_dataloader = lambda: GatedLoader(of_heed(), turnstile)
        folder = Path(tempfile.mkdtemp(prefix="run-", dir=asked.work))
        trainer = build_trainer(config, folder)
        for logger in trainer.loggers:
            logger.log_hyperparams(config)
        trainer.fit(parts.task, datamodule=datamodule)

    return Lane(name, loop, (), tokens=counted, settle=asked.settle)


def heed_bare(
    name: str, config: dict[str, Any], parts: Parts, asked: Settings, count: int = 64
) -> Lane:
    """The same task and Heed's own batches in a plain loop, with nothing around it.

    It clips, and steps optimizer and schedule as `heed train` does; batches are made beforehand.
    On a GPU, packed, the loss is compiled as there.
    """
    task: Any = parts.task
    loader = parts.datamodule.train_dataloader()
    batches = [batch for _, batch in zip(range(count), loader, strict=False)]

    def loop(turnstile: Turnstile) -> None:
        task.to(asked.device).train()
        loss_of = task.loss
        if asked.device == "cuda" and parts.datamodule.packed:
            loss_of = torch.compile(task.loss, mode="reduce-overhead", dynamic=False)
        optimizer = task.make_optimizer(task)
        scheduler = task.make_scheduler(optimizer, total_steps=1_000_000)
        weights = [weight for weight in task.parameters() if weight.requires_grad]
        for batch in turnstile:
            with cast(asked.own_precision, asked):
                loss = loss_of(batch.to(asked.device, non_blocking=True))
            (loss.sum / loss.count).backward()
            nn.utils.clip_grad_norm_(weights, CLIP)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()

    return Lane(name, loop, batches, tokens=real_tokens, settle=asked.settle)


class TorchTransformer(nn.Module):
    """`torch.nn.Transformer` with shared embeddings, of the sizes in a Heed config."""

    def __init__(self, model: dict[str, Any], vocabulary: int) -> None:
        super().__init__()
        width = model["d_model"]
        self.embedding = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.transformer = nn.Transformer(
            d_model=width,
            nhead=model["n_heads"],
            num_encoder_layers=model["n_layers"],
            num_decoder_layers=model["n_layers"],
            dim_feedforward=model["d_feed_forward"],
            dropout=model["dropout"],
            norm_first=model["norm_position"] == "pre",
            batch_first=True,
        )
        for module in self.transformer.modules():  # dropout where Heed has it
            if isinstance(module, nn.MultiheadAttention):
                module.dropout = 0.0
            if isinstance(module, (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)):
                module.dropout = nn.Identity()
        self.dropout = nn.Dropout(model["dropout"])
        rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
        angles = torch.arange(1024)[:, None] * rates
        self.register_buffer("waves", torch.stack([angles.sin(), angles.cos()], -1).flatten(1))

    def forward(self, batch: Pairs) -> Tensor:
        """(B, T - 1, V) logits."""
        read = batch.target[:, :-1]
        hidden = self.transformer(
            self._embed(batch.source),
            self._embed(read),
            tgt_mask=nn.Transformer.generate_square_subsequent_mask(
                read.shape[1], device=read.device, dtype=torch.bool
            ),
            src_key_padding_mask=_padding(batch.source, batch.source_lengths),
            memory_key_padding_mask=_padding(batch.source, batch.source_lengths),
            tgt_is_causal=True,
        )
        return F.linear(hidden, self.embedding.weight)

    def _embed(self, ids: Tensor) -> Tensor:
        scaled = self.embedding(ids) * math.sqrt(self.embedding.embedding_dim)
        return self.dropout(scaled + self.waves[: ids.shape[1]])


def torch_bare(
    name: str,
    model: dict[str, Any],
    vocabulary: int,
    pad: int,
    batches: list[Pairs],
    precision: str,
    asked: Settings,
) -> Lane:
    """`torch.nn.Transformer` in a plain loop, on padded batches."""

    def loop(turnstile: Turnstile) -> None:
        torch.manual_seed(1)
        module = TorchTransformer(model, vocabulary).to(asked.device).train()
        optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4, fused=True)
        for batch in turnstile:
            with cast(precision, asked):
                logits = module(batch).flatten(0, 1)
                loss = F.cross_entropy(
                    logits,
                    batch.target[:, 1:].flatten(),
                    ignore_index=pad,
                    label_smoothing=SMOOTHING,
                )
            loss.backward()
            nn.utils.clip_grad_norm_(module.parameters(), CLIP)
            optimizer.step()
            optimizer.zero_grad()

    moved = [batch.to(asked.device) for batch in batches]
    return Lane(name, loop, moved, tokens=real_tokens, settle=asked.settle)


def marian_trainer(
    name: str,
    model: dict[str, Any],
    vocabulary: int,
    pad: int,
    batches: list[Pairs],
    precision: str,
    asked: Settings,
    *,
    compiled: bool = False,
) -> Lane:
    """The Trainer of transformers with a Marian of equal size, on padded batches.

    Compiled, it gets the same few batches again and again: a new shape costs it a new compilation.
    """
    if compiled:
        batches = batches[:: max(1, len(batches) // COMPILED)][:COMPILED]

    def loop(turnstile: Turnstile) -> None:
        from transformers import MarianConfig, MarianMTModel, Trainer, TrainingArguments

        torch.manual_seed(1)
        layers, heads, inner = (model[key] for key in ("n_layers", "n_heads", "d_feed_forward"))
        module = MarianMTModel(
            MarianConfig(
                vocab_size=vocabulary,
                d_model=model["d_model"],
                encoder_layers=layers,
                decoder_layers=layers,
                encoder_attention_heads=heads,
                decoder_attention_heads=heads,
                encoder_ffn_dim=inner,
                decoder_ffn_dim=inner,
                max_position_embeddings=1024,
                dropout=model["dropout"],
                activation_function="relu",
                scale_embedding=True,
                use_cache=False,
                pad_token_id=pad,
                bos_token_id=pad,
                eos_token_id=pad,
                forced_eos_token_id=None,
                decoder_start_token_id=pad,
            )
        )

        class OnBatches(Trainer):
            def get_train_dataloader(self) -> Any:
                return turnstile

        trainer = OnBatches(
            model=module,
            args=TrainingArguments(
                output_dir=tempfile.mkdtemp(prefix="trainer-", dir=asked.work),
                max_steps=1_000_000,
                label_smoothing_factor=SMOOTHING,
                max_grad_norm=CLIP,
                learning_rate=1e-4,
                optim="adamw_torch_fused",
                bf16=precision == "bf16",
                use_cpu=asked.device == "cpu",
                torch_compile=compiled,
                logging_steps=50,
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
            ),
        )
        trainer.train()

    moved = [_for_marian(batch, asked.device) for batch in batches]
    counted = {id(given): batch.real_tokens for given, batch in zip(moved, batches, strict=True)}
    return Lane(name, loop, moved, tokens=lambda given: counted[id(given)], settle=asked.settle)


def _for_marian(batch: Pairs, device: str) -> dict[str, Tensor]:
    labels = batch.target[:, 1:].clone()
    labels[_padding(labels, batch.target_lengths - 1)] = -100
    found = {
        "input_ids": batch.source,
        "attention_mask": (~_padding(batch.source, batch.source_lengths)).long(),
        "decoder_input_ids": batch.target[:, :-1].contiguous(),
        "labels": labels,
    }
    return {key: value.to(device) for key, value in found.items()}


def cast(precision: str, asked: Settings) -> contextlib.AbstractContextManager[Any]:
    """Autocast to bf16, or nothing."""
    if precision == "bf16":
        return torch.autocast(asked.device, torch.bfloat16)
    return contextlib.nullcontext()


def _padding(ids: Tensor, lengths: Tensor) -> Tensor:
    """(B, T) bool, True where there is padding."""
    return torch.arange(ids.shape[1], device=ids.device) >= lengths[:, None]


Maker = Callable[..., Lane]
