"""A model that `heed export format=safetensors` wrote, in Python."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heed.commands.run_paths import check_shape
from heed.commands.trust import check_targets, check_words, trusted_modules
from heed.errors import UserError
from heed.files import local_cache_dir
from heed.tracking.config_file import load_config

if TYPE_CHECKING:
    from heed.commands.assemble import Parts


class Exported:
    """A trained model, ready to predict.

    Attributes:
        parts: Its task, tokenizers and preparation.
        config: The config that it was trained with, without places.
    """

    def __init__(self, parts: Parts, config: dict[str, Any]) -> None:
        self.parts = parts
        self.config = config

    def predict(self, records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """A prediction for each record, as `heed predict` writes them to jsonl.

        Args:
            records: {"text": ...}, {"source": ...}, or {"question": ..., "context": ...}.
        """
        from heed.commands.predict import predictions_of_records

        return list(predictions_of_records(self.parts, self.config, iter(records)))


def load_exported(folder: str | Path, *, trust: Iterable[str] = ()) -> Exported:
    """Read an exported model, which may be a stranger's.

    Args:
        folder: What `heed export format=safetensors` wrote.
        trust: Modules that its config may name beside Heed's own parts.

    Raises:
        UserError: If a file is missing or broken, or the config would run code nobody has trusted.
    """
    from heed.commands.assemble import assemble
    from heed.exporting.weights import CONFIG, TOKENIZER, WEIGHTS, load_weights

    folder = Path(folder).expanduser()
    report = _report(folder)
    place = folder / CONFIG
    config = load_config(place)
    check_shape(config, place)
    check_words(config, place=place)
    check_targets(config, trusted_modules(trust), place=place)
    for group in ("paths", "data"):
        config[group]["cache_dir"] = str(local_cache_dir())
    weights = load_weights(folder / WEIGHTS)
    parts = assemble(
        config,
        tokenizer_dir=folder / TOKENIZER,
        labels=report["labels"],
        warm_start=False,
        reads_data=False,
    )
    try:
        parts.task.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(
            f"{folder / WEIGHTS} must fit {CONFIG} beside it, but does not: "
            f"{str(error).splitlines()[-1].strip()}",
            "export it again",
        ) from error
    parts.task.eval()
    return Exported(parts, config)


def _report(folder: Path) -> dict[str, Any]:
    from heed.exporting.export import REPORT

    place = folder / REPORT
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{folder} must be what heed export wrote, but {REPORT} cannot be read: {error}"
        ) from error
    if not isinstance(found, dict) or found.get("format") != "safetensors":
        form = found.get("format") if isinstance(found, dict) else None
        raise UserError(
            f"{folder} must be an export with format=safetensors, but is one with format={form}",
            "its README.md says how it is loaded",
        )
    return found
