"""README.md of an export: what the run record knows of the model, and nothing else."""

from __future__ import annotations

import shlex
from pathlib import PurePath
from typing import Any

import yaml

from heed.exporting.subject import Subject, Written
from heed.exporting.tokenizer_files import prefix_of
from heed.files import readable_bytes

UNKNOWN = "unknown"
TAGS = {
    "sentiment": "text-classification",
    "qa": "question-answering",
    "translation": "translation",
    "summarization": "summarization",
    "generative_qa": "question-answering",
    "causal_lm": "text-generation",
    "masked_lm": "fill-mask",
}
LIBRARIES = {
    "safetensors": "heed",
    "torch_export": "pytorch",
    "onnx": "onnx",
    "ctranslate2": "ctranslate2",
    "hf": "transformers",
}
_NO_SCORE = ("learning_rate", "gradient_norm")
_ENVIRONMENT = ("heed-nlp", "torch", "transformers", "tokenizers", "datasets", "lightning")


def model_card(
    subject: Subject, form: str, written: Written, python: tuple[str, ...], bytes_: int
) -> str:
    """The text of README.md, with the YAML header that huggingface.co reads.

    Args:
        subject: What was exported.
        form: The format's name.
        written: How it compared with the model.
        python: Lines that load and use it.
        bytes_: The size of the folder without this file.
    """
    config, record = subject.config, subject.record
    task = config["task"]["name"]
    lines = [
        f"# {record['name']}: {task} on {config['data']['name']}",
        "",
        f"Trained with Heed and exported as `{form}`. Everything below is from the run's record.",
        "",
        "## Use",
        "",
        "```python",
        *python,
        "```",
        "",
        *_limits(subject, written),
        "## Model",
        "",
        *_table(_model_rows(subject, bytes_)),
        "",
        "## Data",
        "",
        *_data(subject),
        "",
        "## Scores",
        "",
        *_scores(subject),
        "",
        "## Training",
        "",
        *_training(subject),
        "",
        "## Check at export",
        "",
        checked(subject, written) + ".",
        "",
    ]
    header = yaml.safe_dump(_header(subject, form), sort_keys=False, allow_unicode=True)
    return f"---\n{header}---\n\n" + "\n".join(lines)


def checked(subject: Subject, written: Written) -> str:
    """How the export compared with its model, in one sentence without its full stop."""
    what = f"{written.compared[0].upper()}{written.compared[1:]}"
    where = f"on {len(subject.examples)} examples ({subject.examples_from})"
    counts = "".join(
        f"; {name}: {same} of {count} texts the same"
        for name, (same, count) in written.agreement.items()
    )
    return (
        f"{what}, {where}: largest difference {written.largest_difference:.1e} "
        f"(accepted up to {written.tolerance:.1e}){counts}"
    )


def _header(subject: Subject, form: str) -> dict[str, Any]:
    config = subject.config
    task, data = config["task"]["name"], config["data"]
    scores = [one for one in _tested(subject) if one[0] not in ("loss", "perplexity")]
    source = data.get("source")
    hub = source.get("hub") if isinstance(source, dict) else None
    found: dict[str, Any] = {
        "library_name": LIBRARIES[form],
        "pipeline_tag": TAGS.get(task),
        "license": UNKNOWN,  # of the model: nobody has said; that of the data stands below
        "datasets": [hub] if hub else None,
        "metrics": [name for name, _, _ in scores],
        "tags": ["heed"],
        "model-index": [
            {
                "name": subject.record["name"],
                "results": [
                    {
                        "task": {"type": TAGS.get(task, task)},
                        "dataset": {
                            "name": data["name"],
                            "type": hub or data["name"],
                            "split": "test",
                        },
                        "metrics": [
                            {"type": name, "name": name, "value": value}
                            for name, value, _ in scores
                        ],
                    }
                ],
            }
        ],
    }
    if not scores:
        del found["model-index"], found["metrics"]
    return {key: value for key, value in found.items() if value is not None}


def _tested(subject: Subject) -> list[tuple[str, float, str]]:
    """Name, value and signature of each score on the test split."""
    signatures = subject.record.get("signatures") or {}
    return [
        (name.removeprefix("test/"), value, signatures.get(name.removeprefix("test/"), ""))
        for name, value in (subject.record.get("metrics") or {}).items()
        if name.startswith("test/") and not name.endswith(_NO_SCORE)
    ]


def _limits(subject: Subject, written: Written) -> list[str]:
    lines = []
    if written.facts.get("longest_row"):
        lines += [f"A row has at most {written.facts['longest_row']} tokens.", ""]
    prefix = prefix_of(subject.config["task"])
    if prefix:
        what = "question" if "question" in subject.examples[0] else "text"
        lines += [f"Every {what} was read with `{prefix}` before it.", ""]
    if subject.labels and "outputs" in written.facts:
        numbered = ", ".join(f"{i}: {label}" for i, label in enumerate(subject.labels))
        lines += [f"The labels by number are {numbered}.", ""]
    return lines


def _model_rows(subject: Subject, bytes_: int) -> list[tuple[str, str]]:
    model = subject.config["model"]
    layers = str(model["n_layers"])
    if model["shape"] == "encoder_decoder":
        layers = f"{layers} + {model.get('n_decoder_layers') or model['n_layers']}"
    rows = [
        ("shape", str(model["shape"])),
        ("layers", layers),
        ("width", str(model["d_model"])),
        ("heads", str(model["n_heads"])),
        ("inner width", str(model["d_feed_forward"])),
        ("positions", str(model["positions"])),
        ("norm", f"{model['norm']}, {model['norm_position']}"),
        ("activation", str(model["activation"])),
        ("vocabulary", f"{subject.tokenizers.source.vocabulary_size:,}"),
        ("parameters", f"{subject.record['parameters'] or 0:,}"),
        ("size of this folder", readable_bytes(bytes_)),
        ("checkpoint", subject.checkpoint),
    ]
    if not subject.tokenizers.joint:
        size = subject.tokenizers.target.vocabulary_size
        rows.insert(9, ("vocabulary of the target", f"{size:,}"))
    if subject.labels:
        rows.append(("labels", ", ".join(subject.labels)))
    return rows


def _data(subject: Subject) -> list[str]:
    data = subject.config["data"]
    lines = [
        f"- data set: {data['name']}",
        f"- licence of the data: {data.get('licence') or UNKNOWN}",
        f"- homepage: {data.get('homepage') or UNKNOWN}",
        f"- language: {UNKNOWN} to the record",
    ]
    if data.get("references"):
        lines.append(f"- reference: {data['references']}")
    rows = []
    for split in ("train", "validation", "test"):
        facts = (subject.record.get("data") or {}).get(split)
        if facts:
            tokens = sum((facts.get("tokens") or {}).values())
            rows.append((split, f"{facts['records']:,}", f"{tokens:,}", facts["fingerprint"][:12]))
    if rows:
        lines += ["", *_table(rows, ("split", "records", "tokens", "fingerprint"))]
    return lines


def _scores(subject: Subject) -> list[str]:
    tested = _tested(subject)
    if not tested:
        return ["The record has none on the test split."]
    rows = [(name, f"{value:.4g}", signature) for name, value, signature in tested]
    return [
        "On the test split:",
        "",
        *_table(rows, ("score", "value", "signature")),
    ]


def _training(subject: Subject) -> list[str]:
    record, config = subject.record, subject.config
    versions = record.get("versions") or {}
    computing = record.get("computing") or {}
    hardware = record.get("hardware") or {}
    gpus = [gpu.get("name", gpu) if isinstance(gpu, dict) else gpu for gpu in hardware["gpus"]]
    lines = [
        "```bash",
        shlex.join(shorten(word) for word in record["command"]),
        "```",
        "",
        f"- seed {record['seed']}, {record.get('steps')} steps, {record.get('epochs')} epochs, "
        f"optimizer {config['optimizer']['_target_'].rpartition('.')[2]}, peak learning rate "
        f"{config['optimizer'].get('lr')}",
        f"- precision {computing.get('precision', UNKNOWN)}, "
        f"{computing.get('processes', UNKNOWN)} process(es), "
        f"{', '.join(map(str, gpus)) or hardware.get('cpu', UNKNOWN)}",
        "- " + ", ".join(f"{name} {versions[name]}" for name in _ENVIRONMENT if name in versions),
    ]
    commit = ((record.get("code") or {}).get("heed") or {}).get("commit")
    if commit:
        lines.append(f"- Heed at commit {commit}")
    if (record.get("lineage") or {}) != {}:
        lines.append("- lineage: " + ", ".join(f"{k} {v}" for k, v in record["lineage"].items()))
    return lines


def shorten(word: str) -> str:
    """A word of a command with an absolute path in it cut to its last name: .../sst2."""
    key, given, value = word.partition("=")
    path = PurePath(value if given else key)
    if not path.is_absolute():
        return word
    return f"{key}{given}.../{path.name}" if given else f".../{path.name}"


def _table(rows: list[Any], head: tuple[str, ...] = ("", "")) -> list[str]:
    def line(cells: Any) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

    return [line(head), "|" + "---|" * len(head), *(line(row) for row in rows)]
