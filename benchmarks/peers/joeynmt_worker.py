"""Makes training steps with JoeyNMT 2.3 when it is told to; run by `joeynmt_lane.py`.

    python joeynmt_worker.py FOLDER

FOLDER has `facts.json` and `batches.npz`. A number on standard input asks for so many steps; the
answer is a line of JSON. A step is that of JoeyNMT's `TrainManager`: its Batch, its loss, the
gradient clipped, Adam. Needs joeynmt and torch, nothing of Heed.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from joeynmt.batch import Batch
from joeynmt.model import build_model


class Vocabulary:
    """Of JoeyNMT's vocabularies, what its model asks for."""

    def __init__(self, facts: dict) -> None:
        self.pad_index, self.bos_index, self.eos_index = (facts[k] for k in ("pad", "bos", "eos"))
        self.unk_index = self.pad_index
        self.sep_index = None
        self.specials, self.lang_tags = ["<unk>", "<pad>", "<s>", "</s>"], []
        self._size = facts["vocabulary"]

    def __len__(self) -> int:
        return self._size

    def lookup(self, token: str) -> int:
        """The number of a special token."""
        return [self.unk_index, self.pad_index, self.bos_index, self.eos_index][
            self.specials.index(token)
        ]

    def log_vocab(self, *_: object) -> str:
        """Nothing to say."""
        return ""


def build(facts: dict) -> torch.nn.Module:
    side = {
        "type": "transformer",
        "num_layers": facts["n_layers"],
        "num_heads": facts["n_heads"],
        "embeddings": {"embedding_dim": facts["d_model"], "scale": True, "dropout": 0.1},
        "hidden_size": facts["d_model"],
        "ff_size": facts["d_feed_forward"],
        "dropout": facts["dropout"],
        "layer_norm": facts["norm_position"],
    }
    config = {
        "initializer": "xavier_uniform",
        "embed_initializer": "xavier_uniform",
        "tied_embeddings": True,
        "tied_softmax": True,
        "encoder": side,
        "decoder": json.loads(json.dumps(side)),
    }
    vocabulary = Vocabulary(facts)
    model = build_model(config, vocabulary, vocabulary)
    model.loss_function = ("crossentropy", 0.1)
    return model


def main() -> None:
    folder = Path(sys.argv[1])
    facts = json.loads((folder / "facts.json").read_text())
    arrays = np.load(folder / "batches.npz")
    count = len(facts["tokens"])
    rows = [
        [torch.from_numpy(arrays[f"{s}{n}"]) for s in ("source", "target")] for n in range(count)
    ]
    model = build(facts).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    device, stats = torch.device("cpu"), SimpleNamespace(tokens=0)
    order = itertools.cycle(range(count))

    def step() -> None:
        number = next(order)
        source, target = rows[number]
        batch = Batch(
            src=source,
            src_length=(source != facts["pad"]).sum(1),
            src_prompt_mask=None,
            trg=target,
            trg_prompt_mask=None,
            indices=torch.arange(len(source)),
            device=device,
            pad_index=facts["pad"],
            eos_index=facts["eos"],
        )
        batch.sort_by_src_length()
        loss, _, _, _ = model(return_type="loss", **vars(batch))
        loss = batch.normalize(loss, normalization="tokens", n_gpu=0, n_accumulation=1)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        model.zero_grad()
        stats.tokens += facts["tokens"][number]

    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        stats.tokens = 0
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(int(line)):
            step()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(json.dumps({"wall": wall, "cpu": cpu, "tokens": stats.tokens}), flush=True)


if __name__ == "__main__":
    main()
