"""Decoding beside CTranslate2 and transformers: output tokens a second on this CPU.

    python benchmarks/decoding.py RUN [--sentences 1000] [--rounds 3] [--cores 2] [--json FILE]
                                      [--search greedy beam] [--arms heed ctranslate2 transformers]

RUN is the folder of a translation run (an encoder-decoder that CTranslate2 can express), whose test
split is translated. Heed and CTranslate2 have the same weights and stop beams by the same rule
(`early_stopping=true`). transformers gets a Marian model of the same sizes with random weights, and
writes, batch by batch, as many tokens as Heed's longest in it; both count what Heed wrote.

Arms take turns, round after round; the table gives medians. A token is what was written of a
sentence, its end included. Loading is not counted, batching and padding are; no arm tokenises.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

BEAMS = 5
LIMITS = {"max_length": 256, "max_length_ratio": 1.5, "max_length_extra": 10}
Arm = Callable[[], int]
"""Translates everything and returns how many tokens it wrote."""


class Setting:
    """The run, its sources as tokens, and what the arms share.

    Args:
        arguments: The words of the command line.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        from heed.commands.arguments import parse_arguments
        from heed.commands.export import subject_of
        from heed.commands.trained import read_request

        words = [f"run={arguments.run}", "format=ctranslate2"]
        request = read_request("export", parse_arguments(words, usage=""))
        self.subject = subject_of(request)
        self.task: Any = self.subject.task
        self.cores = arguments.cores
        module = self.subject.datamodule
        module.limit(max_tokens=arguments.max_tokens, eval_max_tokens=arguments.max_tokens)
        records = module.records("test")
        count = min(arguments.sentences, len(records))
        self.batches = list(module.predict_batches([dict(records[i]) for i in range(count)]))
        self.lengths: dict[str, list[list[int]]] = {}  # what Heed wrote, by search

    def sources(self) -> list[list[str]]:
        """The tokens of every source, by name."""
        found = []
        for batch in self.batches:
            lengths = batch.source.layout.lengths.tolist()
            for ids, length in zip(batch.source.ids.tolist(), lengths, strict=True):
                found.append(self.subject.tokenizers.source.tokens(ids[:length]))
        return found


def decoder_of(search: str) -> Any:
    from heed.decoding.beam import BeamDecoder
    from heed.decoding.greedy import GreedyDecoder

    if search == "greedy":
        return GreedyDecoder(**LIMITS)
    return BeamDecoder(**LIMITS, beam_size=BEAMS, early_stopping=search == "beam")


def heed_arms(setting: Setting, search: str) -> dict[str, Arm]:
    """Heed in one process with all threads, and in one a core."""
    from heed.commands.predict import dealt
    from heed.decoding.decoder import Ids, ToWrite
    from heed.decoding.workers import Workers
    from heed.training.allocator import keep_freed_memory

    keep_freed_memory()  # as `heed predict` does
    writer, tokenizer = setting.task.writer, setting.subject.tokenizers.target
    decoder = decoder_of(search)
    *_, start = setting.task.preparation.start_ids

    def write(batches: list[Any]) -> list[list[int]]:
        asked = (
            ToWrite(writer.step(b), decoder.max_lengths(writer.source_lengths(b))) for b in batches
        )
        ids = Ids(start, tokenizer.eos_id, tokenizer.pad_id)
        with torch.inference_mode():
            found = list(decoder.stream(asked, ids, with_scores=False))
        return [[len(best[0].tokens) + 1 for best in batch] for batch in found]

    def alone() -> int:
        torch.set_num_threads(setting.cores)
        setting.lengths[search] = write(setting.batches)
        return sum(map(sum, setting.lengths[search]))

    def shared() -> int:
        shares = list(dealt(setting.batches, setting.cores))
        with Workers(write, setting.cores) as workers:  # their start is counted
            return sum(sum(batch) for share in workers.map(shares) for batch in share)

    return {
        f"heed, 1 process of {setting.cores} threads": alone,
        f"heed, {setting.cores} processes of 1 thread": shared,
    }


def engine_arms(setting: Setting, search: str, folder: Path) -> dict[str, Arm]:
    """CTranslate2 in fp32 and int8, one worker of all threads and one a core."""
    import ctranslate2

    from heed.exporting import ctranslate
    from heed.exporting.ctranslate_check import never_tokens
    from heed.exporting.tokenizer_files import write_tokenizers

    # Heed has a limit for each sentence; here all have the highest of these.
    limits = decoder_of(search).max_lengths(
        torch.cat([batch.source.layout.lengths for batch in setting.batches])
    )
    sources, never = setting.sources(), [[token] for token in never_tokens(setting.subject)]
    arms: dict[str, Arm] = {}
    for kind in ("float32", "int8"):
        where = folder / kind
        if not where.exists():
            where.mkdir()
            write_tokenizers(setting.subject, where)
            ctranslate.save(setting.subject, where, None if kind == "float32" else "int8")
        for workers in (1, setting.cores):
            threads = setting.cores // workers
            engine = ctranslate2.Translator(
                str(where), device="cpu", inter_threads=workers, intra_threads=threads
            )

            def arm(engine: Any = engine) -> int:
                found = engine.translate_batch(
                    sources,
                    beam_size=1 if search == "greedy" else BEAMS,
                    max_batch_size=64,
                    max_decoding_length=int(limits.max()),
                    suppress_sequences=never,
                    max_input_length=0,
                )
                return sum(len(one.hypotheses[0]) + 1 for one in found)

            name = f"ctranslate2 {kind}, {workers} worker{'s' * (workers > 1)} of {threads}"
            arms[name] = arm
    return arms


def peer_arms(setting: Setting, search: str) -> dict[str, Arm]:
    """transformers' generate, in one process with all threads."""
    from transformers import MarianConfig, MarianMTModel

    values = setting.subject.config["model"]
    size, layers = setting.task.backbone.vocabulary_size, values["n_layers"]
    config = MarianConfig(
        vocab_size=size,
        d_model=values["d_model"],
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=values["n_heads"],
        decoder_attention_heads=values["n_heads"],
        encoder_ffn_dim=values["d_feed_forward"],
        decoder_ffn_dim=values["d_feed_forward"],
        activation_function="relu",
        pad_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=0,
        forced_eos_token_id=None,
        scale_embedding=True,
    )
    model = MarianMTModel(config).eval()

    def arm() -> int:
        torch.set_num_threads(setting.cores)
        for batch, lengths in zip(setting.batches, setting.lengths[search], strict=True):
            with torch.inference_mode():
                model.generate(
                    input_ids=batch.source.ids,
                    attention_mask=batch.source.layout.mask().long(),
                    num_beams=1 if search == "greedy" else BEAMS,
                    do_sample=False,
                    min_new_tokens=max(lengths),
                    max_new_tokens=max(lengths),
                )
        return sum(map(sum, setting.lengths[search]))

    return {f"transformers, 1 process of {setting.cores} threads": arm}


def cpu_seconds() -> float:
    """Used by this process and those that it has waited for; a busy machine disturbs it less."""
    return sum(os.times()[:4])


def measure(arms: dict[str, Arm], rounds: int) -> dict[str, dict[str, Any]]:
    """Tokens a second of each arm, in turns."""
    found: dict[str, list[float]] = {name: [] for name in arms}
    costs: dict[str, list[float]] = {name: [] for name in arms}
    tokens: dict[str, int] = {}
    for number in range(rounds + 1):
        for name, arm in arms.items():
            start, used = time.perf_counter(), cpu_seconds()
            tokens[name] = arm()
            if number > 0:  # the first round warms up
                found[name].append(tokens[name] / (time.perf_counter() - start))
                costs[name].append((cpu_seconds() - used) / tokens[name] * 1e3)
            print(f"round {number}: {name}", end="\r", flush=True)
    return {
        name: {
            "tokens": tokens[name],
            "rates": rates,
            "median": statistics.median(rates),
            "cpu_ms_per_token": statistics.median(costs[name]),
        }
        for name, rates in found.items()
    }


def show(search: str, results: dict[str, dict[str, Any]]) -> None:
    rival = results.get("ctranslate2 float32, 2 workers of 1")
    print(f"\n{search:38} tokens/s   lowest  highest   CPU ms/token   of ctranslate2 fp32, 2 x 1")
    for name, result in results.items():
        rates, ratio = result["rates"], result["median"] / rival["median"] if rival else 0.0
        print(
            f"{name:38} {result['median']:8,.0f} {min(rates):8,.0f} {max(rates):8,.0f}"
            f"{result['cpu_ms_per_token']:11.2f} {ratio:14.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--sentences", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--max-tokens", type=int, default=4096, help="positions of Heed's batches")
    parser.add_argument("--search", nargs="+", default=["greedy", "beam"], help="or beam-exact")
    parser.add_argument("--arms", nargs="+", default=["heed", "ctranslate2", "transformers"])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    setting, said = Setting(arguments), {}
    with tempfile.TemporaryDirectory() as folder:
        for search in arguments.search:
            arms: dict[str, Arm] = {}
            if "heed" in arguments.arms:
                arms |= heed_arms(setting, search)
            if "ctranslate2" in arguments.arms:
                arms |= engine_arms(setting, search, Path(folder))
            if "transformers" in arguments.arms:
                arms |= peer_arms(setting, search)
            said[search] = measure(arms, arguments.rounds)
            show(search, said[search])
    if arguments.json:
        arguments.json.write_text(json.dumps({"torch": torch.__version__, **said}, indent=2) + "\n")


if __name__ == "__main__":
    main()
