"""`decoding.engine=ctranslate2`: a trained encoder-decoder that writes by the CTranslate2 engine.

Legend: B sentences.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from heed.cores import usable_cores
from heed.data.batch import PairBatch
from heed.decoding.beam import BeamDecoder
from heed.decoding.decoder import Decoder
from heed.decoding.step import Hypothesis
from heed.errors import UserError
from heed.exporting import ctranslate
from heed.exporting.ctranslate_check import never_tokens, search_options
from heed.exporting.subject import Subject


class CTranslateEngine:
    """Writes as a decoder says; it stops beams as `early_stopping=true` does.

    What it writes is what `heed export format=ctranslate2` compares with Heed's own.

    Args:
        subject: The trained model; changes of its weights later on are not seen.
        compute_type: What it multiplies in, such as "int8"; None: fp32.
        device: "cpu" or "cuda".

    Raises:
        UserError: If this machine cannot compute in `compute_type`.
    """

    def __init__(self, subject: Subject, *, compute_type: str | None, device: str) -> None:
        import ctranslate2

        known = ctranslate2.get_supported_compute_types(device)
        if compute_type is not None and compute_type not in known:
            raise UserError(
                f"decoding.compute_type must be null or one of {', '.join(sorted(known))} on this "
                f"{device}, but is {compute_type!r}"
            )
        self.subject = subject
        self.never = [[token] for token in never_tokens(subject)]
        with tempfile.TemporaryDirectory() as folder:
            ctranslate.save(subject, Path(folder), None)
            self.translator = ctranslate2.Translator(
                folder,
                device=device,
                compute_type=compute_type or "float32",
                inter_threads=usable_cores() if device == "cpu" else 1,
                intra_threads=1,  # two workers of one thread each are faster than one of two
            )

    def __call__(self, batch: PairBatch, decoder: Decoder) -> list[list[Hypothesis]]:
        """B lists of hypotheses, best first."""
        tokenizers, layout = self.subject.tokenizers, batch.source.layout
        lengths, limits = layout.lengths.tolist(), decoder.max_lengths(layout.lengths).tolist()
        rows = [
            ids[:length] for ids, length in zip(batch.source.ids.tolist(), lengths, strict=True)
        ]
        sources = [tokenizers.source.tokens(row) for row in rows]
        by_limit: dict[int, list[int]] = defaultdict(list)
        for row, limit in enumerate(limits):
            by_limit[limit].append(row)
        n_best = decoder.n_best if isinstance(decoder, BeamDecoder) else 1
        waiting: dict[int, Any] = {}
        for limit, members in by_limit.items():
            options = {
                **search_options(decoder, limit, self.never),
                "num_hypotheses": n_best,
                "return_scores": True,
            }
            found = self.translator.translate_batch(
                [sources[row] for row in members], asynchronous=True, **options
            )
            waiting.update(zip(members, found, strict=True))
        names = tokenizers.target.backend.get_vocab(with_added_tokens=True)
        return [self._hypotheses(waiting[row].result(), names) for row in range(len(rows))]

    def _hypotheses(self, result: Any, names: dict[str, int]) -> list[Hypothesis]:
        return [
            Hypothesis([names[token] for token in tokens], score)
            for tokens, score in zip(result.hypotheses, result.scores, strict=True)
        ]
