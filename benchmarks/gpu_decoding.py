"""Decoding on a GPU beside transformers: output tokens a second.

    python benchmarks/gpu_decoding.py [--sentences 32 128 512] [--batches 4] [--rounds 3]
                                      [--search greedy beam] [--precision fp16] [--json FILE]
                                      [--arms stepwise slots streamed transformers] [--profile]

A base model (6 + 6 layers of width 512, 8 heads, vocabulary 32,000) with random weights writes
`--tokens` tokens for each source of 15 to 45; no arm may end a sentence earlier or later, so all
write as much. Sources lie on the device, in batches of so many sentences; reading them is counted.

- stepwise: Heed's searches whose rows leave, launched kernel by kernel, batch by batch.
- slots: Heed's slots, a turn being one CUDA graph, batch by batch, as `heed evaluate` has it.
- streamed: the same, the next batch beginning as soon as there is room, as `heed predict` has it.
- transformers: a Marian model of the same sizes, `generate` with its own cache, all in half
  precision (Heed's encoder computes by autocast).

Arms take turns, round after round; the table gives medians. Before, `stepwise` and `slots` are
compared: how many outputs are the same, in fp32 and in half precision.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from heed.backbone.layout import Padded
from heed.backbone.transformer import Transformer
from heed.data.batch import PairBatch, Tokens
from heed.decoding.beam import BeamDecoder
from heed.decoding.decoder import Decoder, Ids
from heed.decoding.greedy import GreedyDecoder
from heed.decoding.step import Hypothesis
from heed.heads.vocabulary import VocabularyHead
from heed.tasks.slot_writer import SlotWriter
from heed.tasks.writers import TransformerStep

VOCABULARY, WIDTH, HEADS, LAYERS, INNER = 32_000, 512, 8, 6, 2048
IDS = Ids(bos=1, eos=2, pad=0)
BEAMS = 4
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
Arm = Callable[[list[PairBatch]], Any]


def model(device: str) -> tuple[Transformer, VocabularyHead]:
    torch.manual_seed(0)
    backbone = Transformer(
        shape="encoder_decoder",
        vocabulary_size=VOCABULARY,
        d_model=WIDTH,
        n_heads=HEADS,
        d_feed_forward=INNER,
        n_layers=LAYERS,
    )
    head = VocabularyHead.of(backbone)
    return backbone.eval().to(device), head.eval().to(device)


def batches(count: int, sentences: int, device: str) -> list[PairBatch]:
    generator = torch.Generator().manual_seed(sentences)
    found = []
    for _ in range(count):
        lengths = torch.randint(15, 46, (sentences,), generator=generator)
        layout = Padded(lengths, int(lengths.max()), full=False)
        ids = torch.randint(3, VOCABULARY, (sentences, layout.width), generator=generator)
        source = Tokens(ids.masked_fill(~layout.mask(), IDS.pad), layout)
        batch = PairBatch(source, None, indices=list(range(sentences)), records=None)
        found.append(batch.to(device))
    return found


def decoder_of(search: str, tokens: int) -> Decoder:
    """Writes exactly so many."""
    if search == "greedy":
        return GreedyDecoder(max_length=tokens, min_length=tokens - 1)
    return BeamDecoder(max_length=tokens, min_length=tokens - 1, beam_size=BEAMS)


class Heed:
    """Its arms.

    Args:
        device: Where it computes.
    """

    def __init__(self, device: str) -> None:
        self.backbone, self.head = model(device)
        self.writer = SlotWriter(self.backbone, self.head)

    def stepwise(self, batch: PairBatch, decoder: Decoder) -> list[list[Hypothesis]]:
        layout = batch.source.layout
        memory = self.backbone.encode(batch.source.ids, layout)
        return decoder(
            TransformerStep(self.backbone, self.head, memory, layout),
            batch_size=len(batch),
            **{"bos_id": IDS.bos, "eos_id": IDS.eos, "pad_id": IDS.pad},
            max_length=decoder.max_lengths(layout.lengths),
            device=layout.lengths.device,
            with_scores=False,
        )

    def slots(self, given: Any, decoder: Decoder) -> Iterator[list[list[Hypothesis]]]:
        def never(batch: PairBatch) -> list[list[Hypothesis]]:
            raise AssertionError("a batch has no room")

        assert self.writer.takes(decoder)
        return self.writer.write(given, decoder, IDS, otherwise=never)

    def arms(self, decoder: Decoder) -> dict[str, Arm]:
        return {
            "stepwise": lambda given: [self.stepwise(batch, decoder) for batch in given],
            "slots": lambda given: [next(self.slots([batch], decoder)) for batch in given],
            "streamed": lambda given: list(self.slots(iter(given), decoder)),
        }


def marian(device: str, dtype: torch.dtype) -> Any:
    from transformers import MarianConfig, MarianMTModel

    config = MarianConfig(
        vocab_size=VOCABULARY,
        d_model=WIDTH,
        encoder_layers=LAYERS,
        decoder_layers=LAYERS,
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        encoder_ffn_dim=INNER,
        decoder_ffn_dim=INNER,
        activation_function="relu",
        pad_token_id=IDS.pad,
        eos_token_id=IDS.eos,
        bos_token_id=IDS.bos,
        decoder_start_token_id=IDS.bos,
        forced_eos_token_id=None,
        scale_embedding=True,
    )
    return MarianMTModel(config).eval().to(device, dtype)


def transformers_arm(peer: Any, search: str, tokens: int) -> Arm:
    def arm(given: list[PairBatch]) -> None:
        for batch in given:
            found = peer.generate(
                input_ids=batch.source.ids,
                attention_mask=batch.source.layout.mask().long(),
                num_beams=1 if search == "greedy" else BEAMS,
                do_sample=False,
                min_new_tokens=tokens,
                max_new_tokens=tokens,
            )
            assert found.shape[1] == tokens + 1
            found.tolist()  # as other arms give lists

    return arm


def measure(arms: dict[str, Arm], given: list[PairBatch], rounds: int) -> dict[str, list[float]]:
    """Seconds of each arm, in turns, the first of which warms up."""
    found: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds + 1):
        for name, arm in arms.items():
            torch.cuda.synchronize()
            start = time.perf_counter()
            arm(given)
            torch.cuda.synchronize()
            if number:
                found[name].append(time.perf_counter() - start)
    return found


def agreement(heed: Heed, decoder: Decoder, given: list[PairBatch]) -> float:
    """The share of sentences whose best output is the same, token for token."""
    found = heed.slots(iter(given), decoder)
    pairs = [
        (one[0].tokens, other[0].tokens)
        for batch, own in zip(given, found, strict=True)
        for one, other in zip(own, heed.stepwise(batch, decoder), strict=True)
    ]
    return sum(one == other for one, other in pairs) / len(pairs)


def profile(heed: Heed, decoder: Decoder, given: list[PairBatch]) -> None:
    """What a turn of slots is made of."""
    next(heed.slots([given[0]], decoder))
    pool = next(reversed(heed.writer._pools.values()))
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(50):
        pool.turn()
    end.record()
    torch.cuda.synchronize()
    print(f"\na turn of {pool.slots} slots: {start.elapsed_time(end) / 50:.3f} ms")
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as seen:
        for _ in range(10):
            pool.turn()
        torch.cuda.synchronize()
    rows = sorted(seen.key_averages(), key=lambda row: -row.self_device_time_total)
    print(f"{sum(row.count for row in rows) / 10:.0f} kernels a turn, us each turn:")
    for row in rows[:24]:
        print(f"{row.self_device_time_total / 10:9.1f} {row.count / 10:6.1f}  {row.key[:90]}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sentences", type=int, nargs="+", default=[32, 128, 512])
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--search", nargs="+", default=["greedy", "beam"])
    parser.add_argument("--precision", choices=sorted(DTYPES), default="fp16")
    parser.add_argument(
        "--arms", nargs="+", default=["stepwise", "slots", "streamed", "transformers"]
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    device, dtype = arguments.device, DTYPES[arguments.precision]
    heed, peer = Heed(device), None
    if "transformers" in arguments.arms:
        peer = marian(device, dtype)
    said: dict[str, Any] = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "precision": arguments.precision,
        "tokens": arguments.tokens,
        "agreement": {},
        "rates": {},
    }
    half = torch.autocast(device, dtype=dtype, enabled=dtype != torch.float32)
    for search in arguments.search:
        decoder = decoder_of(search, arguments.tokens)
        with torch.inference_mode():
            some = batches(1, 128, device)
            said["agreement"][search] = {"fp32": agreement(heed, decoder, some)}
            with half:
                said["agreement"][search][arguments.precision] = agreement(heed, decoder, some)
        print(search, said["agreement"][search], flush=True)
        heed.writer.forget()
        if arguments.profile:
            with torch.inference_mode(), half:
                for sentences in arguments.sentences:
                    profile(heed, decoder, batches(1, sentences, device))
        for sentences in arguments.sentences:
            given = batches(arguments.batches, sentences, device)
            arms = {k: v for k, v in heed.arms(decoder).items() if k in arguments.arms}
            if "transformers" in arguments.arms:
                arms["transformers"] = transformers_arm(peer, search, arguments.tokens)
            with torch.inference_mode(), half:
                seconds = measure(arms, given, arguments.rounds)
            written = arguments.batches * sentences * arguments.tokens
            rates = {k: [written / x for x in v] for k, v in seconds.items()}
            said["rates"][f"{search} {sentences}"] = rates
            for name, own in rates.items():
                middle, least, most = statistics.median(own), min(own), max(own)
                print(
                    f"{search:7} {sentences:4} {name:13} {middle:10,.0f} tokens/s"
                    f" ({least:,.0f} to {most:,.0f})",
                    flush=True,
                )
    if arguments.json:
        arguments.json.write_text(json.dumps(said, indent=2) + "\n")


if __name__ == "__main__":
    main()
