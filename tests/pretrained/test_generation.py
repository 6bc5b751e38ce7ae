"""What a checkpoint says of how it should write, as words of the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from heed.commands.compose import compose
from heed.pretrained.checkpoint import Checkpoint
from heed.pretrained.generation import advice


def told(folder: Path, config: dict[str, Any], generation: dict[str, Any] | None) -> list[str]:
    (folder / "config.json").write_text(json.dumps(config))
    if generation is not None:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    return list(advice(Checkpoint(str(folder))))


def test_nothing_is_said_of_what_is_usual(tmp_path: Path) -> None:
    usual = {"num_beams": 1, "length_penalty": 1.0, "max_length": 20, "eos_token_id": 1}
    assert told(tmp_path, {"model_type": "t5"}, usual) == []


def test_older_configs_have_tasks_with_prefixes(tmp_path: Path) -> None:
    tasks = {
        "summarization": {
            **{"prefix": "summarize: ", "num_beams": 4, "length_penalty": 2.0},
            **{"early_stopping": True, "max_length": 200, "min_length": 30},
            "no_repeat_ngram_size": 3,
        },
        "translation_en_to_de": {"prefix": "translate English to German: "},
    }
    first, second = told(tmp_path, {"task_specific_params": tasks}, None)
    assert first == (
        "decoding=beam decoding.beam_size=4 decoding.length_penalty=2.0 "
        "decoding.early_stopping=true decoding.no_repeat_ngram_size=3 decoding.min_length=29 "
        "decoding.max_length=199 'task.preparation.source_prefix=\"summarize: \"' (summarization)"
    )
    assert second.endswith("(translation_en_to_de)")


def test_the_words_are_heeds(tmp_path: Path) -> None:
    """They compose, and mean what they say."""
    said = {"num_beams": 6, "early_stopping": False, "max_length": 512, "length_penalty": 0.5}
    (words,) = told(tmp_path, {}, said)
    config = compose("train", ["task=translation", *words.split()])
    assert config["decoding"]["beam_size"] == 6
    assert config["decoding"]["max_length"] == 511
    assert config["decoding"]["length_penalty"] == 0.5


def test_a_length_penalty_means_nothing_without_beams(tmp_path: Path) -> None:
    assert told(tmp_path, {}, {"length_penalty": 2.0, "max_length": 512}) == [
        "decoding.max_length=511"
    ]
