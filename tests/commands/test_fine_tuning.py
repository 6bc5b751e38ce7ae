"""Runs that start from another's weights: what is frozen, added, renewed and kept of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from heed.commands.run_paths import open_run
from heed.commands.trained import load_parts
from heed.commands.warm_start import run_weights
from heed.finetuning.adapters import merge_adapters
from heed.tracking.record import RunRecord

LORA = ("adapter=lora", "adapter.dropout=0.1", "adapter.r=2")


@pytest.fixture(scope="session")
def base(run_folder: Callable[[str], Path]) -> Path:
    """The run that all others start from."""
    return run_folder("sentiment")


@pytest.fixture(scope="session")
def tuned(
    heed: Callable[..., Any], tiny: list[str], base: Path, only_run: Callable[[Path], Path]
) -> Callable[..., tuple[Path, Any]]:
    """`tuned(folder, ...)` trains a run that starts from the base; its folder and what it said."""

    def train(root: Path, *words: str, start: Path | None = None) -> tuple[Path, Any]:
        start = start or base
        given = [word for word in tiny if not word.startswith("tokenizer.vocabulary_size")]
        given += [f"model.init_from={start}", "tokenizer=file", f"tokenizer.path={start}/tokenizer"]
        answer = heed("train", "task=sentiment", *given, *words, f"paths.output_dir={root}")
        assert answer.code == 0, answer.err + answer.out
        return only_run(root), answer

    return train


@pytest.fixture(scope="session")
def lora(
    tuned: Callable[..., tuple[Path, Any]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Any]:
    """A run of three steps that trains LoRA, and what it said."""
    return tuned(tmp_path_factory.mktemp("lora"), *LORA)


def test_a_checkpoint_holds_adapter_and_head_alone(
    lora: tuple[Path, Any], base: Path, weights: Callable[..., Any], record: Callable[..., Any]
) -> None:
    run, answer = lora
    names = set(weights(run))
    assert {name.partition(".")[0] for name in names} == {"backbone", "head"}
    assert all(".lora_" in name for name in names if name.startswith("backbone."))
    assert "of these trained" in answer.out
    known = record(run)["lineage"]["init_from"]
    assert len(known["sha256"]) == 64
    assert (run / known["place"]).resolve() == base.resolve()


def test_it_is_evaluated_on_its_base(
    lora: tuple[Path, Any], heed: Callable[..., Any], record: Callable[..., Any], tmp_path: Path
) -> None:
    run, _ = lora
    output = tmp_path / "out.jsonl"
    answer = heed("evaluate", f"run={run}", f"output={output}")
    assert answer.code == 0, answer.err
    assert f"{record(run)['metrics']['test/loss']:.4g}" in answer.out
    predicted = heed("predict", f"run={run}", typed="fine\n", where=tmp_path)
    assert predicted.code == 0, predicted.err
    assert predicted.out.strip() in ("negative", "positive")


def test_merged_it_computes_the_same(lora: tuple[Path, Any], base: Path) -> None:
    record, config = open_run(lora[0])
    task = load_parts(record, config, "best", reads_data=False)[0].task
    ids = torch.arange(6).reshape(2, 3)
    adapted = task.head.output(task.backbone.features(ids))
    before = run_weights(str(base))
    changed = "backbone.encoder.layers.0.self_attention.qkv.weight"
    assert merge_adapters(task) == 2
    assert task.state_dict().keys() == before.keys()
    assert not task.state_dict()[changed].equal(before[changed])
    merged = task.head.output(task.backbone.features(ids))
    torch.testing.assert_close(merged, adapted, atol=1e-5, rtol=0)
    assert task.state_dict()[changed].equal(run_weights(str(lora[0]))[changed])


def test_a_head_that_shares_a_frozen_table_is_not_kept(
    heed: Callable[..., Any],
    tiny: list[str],
    run_folder: Callable[[str], Path],
    weights: Callable[..., Any],
    only_run: Callable[[Path], Path],
    tmp_path: Path,
) -> None:
    start = run_folder("translation")
    given = [word for word in tiny if not word.startswith("tokenizer.vocabulary_size")]
    given += [f"model.init_from={start}", "tokenizer=file", f"tokenizer.path={start}/tokenizer"]
    words = (*LORA, "trainer.max_steps=1", f"paths.output_dir={tmp_path}")
    answer = heed("train", *given, *words)
    assert answer.code == 0, answer.err
    run = only_run(tmp_path)
    assert all(".lora_" in name for name in weights(run))
    assert heed("predict", f"run={run}", typed="A man\n").code == 0
    table = run_weights(str(start))["head.output.weight"]
    assert run_weights(str(run))["head.output.weight"].equal(table)


def test_it_is_exported_merged(
    lora: tuple[Path, Any], heed: Callable[..., Any], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    answer = heed("export", f"run={lora[0]}", "format=safetensors", f"output={output}")
    assert answer.code == 0, answer.err
    (file,) = output.rglob("*.safetensors")
    exported, merged = load_file(file), run_weights(str(lora[0]))
    layer = "encoder.layers.0.self_attention.qkv.weight"
    (name,) = [name for name in exported if name.endswith(layer)]
    assert exported[name].equal(merged[f"backbone.{layer}"])
    assert not any("lora" in name for name in exported)


def test_a_run_goes_on_bit_for_bit_with_averaged_weights_too(
    tuned: Callable[..., tuple[Path, Any]],
    heed: Callable[..., Any],
    weights: Callable[..., Any],
    tmp_path: Path,
) -> None:
    words = (*LORA, "callbacks=ema", "finetuning.layer_decay=0.7", "scheduler=constant")
    straight, _ = tuned(tmp_path / "straight", *words, "trainer.max_steps=5")
    run, _ = tuned(tmp_path / "resumed", *words, "trainer.max_steps=2")
    assert heed("train", f"resume={run}", "trainer.max_steps=5").code == 0
    one, other = weights(straight), weights(run)
    assert one.keys() == other.keys()
    assert all(one[name].equal(other[name]) for name in one)
    read = [torch.load(r / "checkpoints" / "last.ckpt", weights_only=True) for r in (straight, run)]
    names = read[0]["current_model_state"].keys()
    assert names == one.keys()
    in_training = [checkpoint["current_model_state"] for checkpoint in read]
    assert all(in_training[0][name].equal(in_training[1][name]) for name in names)
    assert not all(in_training[0][name].equal(one[name]) for name in names)


def test_a_base_that_is_gone_or_another_is_named(
    tuned: Callable[..., tuple[Path, Any]],
    heed: Callable[..., Any],
    base: Path,
    tmp_path: Path,
) -> None:
    start = Path(shutil.copytree(base, tmp_path / "one" / "start"))
    run, _ = tuned(tmp_path / "one" / "runs", *LORA, start=start)
    together = (tmp_path / "one").rename(tmp_path / "other")
    assert heed("evaluate", f"run={together / run.relative_to(tmp_path / 'one')}").code == 0
    together.rename(tmp_path / "one")
    moved = start.rename(tmp_path / "moved")
    gone = heed("evaluate", f"run={run}")
    assert gone.code == 2
    assert f"holds an adapter to {start}" in gone.err
    assert "which is gone; put it back, or say where it is now: model.init_from=DIR" in gone.err
    assert heed("train", f"resume={run}", "trainer.max_steps=4").code == 2
    assert heed("evaluate", f"run={run}", f"model.init_from={moved}").code == 0
    again = heed("train", f"resume={run}", f"model.init_from={moved}", "trainer.max_steps=4")
    assert again.code == 0, again.err
    (best,) = (moved / "checkpoints").glob("step=*.ckpt")
    best.write_bytes((run / "checkpoints" / "last.ckpt").read_bytes())
    other = heed("evaluate", f"run={run}")
    assert other.code == 2
    assert "which is not what it was: its checksum must be " in other.err


def test_frozen_parts_are_those_of_the_base(
    tuned: Callable[..., tuple[Path, Any]],
    base: Path,
    weights: Callable[..., Any],
    heed: Callable[..., Any],
    tmp_path: Path,
) -> None:
    run, answer = tuned(tmp_path, "finetuning.freeze=[embeddings]", "finetuning.head_rate=2.0")
    before, after = run_weights(str(base)), weights(run)
    assert before.keys() == after.keys()
    table = "backbone.encoder.embeddings.tokens.weight"
    same = {name for name in before if before[name].equal(after[name])}
    assert table in same
    assert "backbone.encoder.layers.0.feed_forward.input.weight" not in same
    assert "of these trained" in answer.out
    assert heed("train", f"resume={run}", "trainer.max_steps=4").code == 0
    assert weights(run)[table].equal(before[table])


def test_top_layers_start_afresh_and_a_head_may_be_kept(
    tuned: Callable[..., tuple[Path, Any]], base: Path, weights: Callable[..., Any], tmp_path: Path
) -> None:
    """Rates of next to nothing leave the weights as they were at the start."""
    still = ("optimizer.lr=1e-30", "optimizer.weight_decay=0")
    before = run_weights(str(base))
    words = ("finetuning.reinitialize_layers=1", "finetuning.keep_head=true")
    run, answer = tuned(tmp_path / "a", *still, *words)
    after = weights(run)
    layer, table = "backbone.encoder.layers.0.", "backbone.encoder.embeddings.tokens.weight"
    matrices = [n for n in before if n.startswith(layer) and before[n].dim() > 1]
    assert matrices
    assert not any(before[name].equal(after[name]) for name in matrices)
    assert before[table].equal(after[table])
    assert before["head.output.weight"].equal(after["head.output.weight"])
    assert "fresh nevertheless: encoder.layers.0" in answer.out
    assert "kept the head of" in answer.out
    started = RunRecord.open(run).fields["lineage"]["init_from"]
    assert started["fresh"]["encoder layers"] == len([n for n in before if n.startswith(layer)])
    assert "encoder layers" not in {**started["carried_over"], **started["left_out"]}
    run, _ = tuned(tmp_path / "b", *still)
    assert not before["head.output.weight"].equal(weights(run)["head.output.weight"])


def test_a_head_for_other_labels_cannot_be_kept(
    heed: Callable[..., Any], tiny: list[str], base: Path, tmp_path: Path
) -> None:
    given = [word for word in tiny if not word.startswith("tokenizer.vocabulary_size")]
    given += [f"model.init_from={base}", "tokenizer=file", f"tokenizer.path={base}/tokenizer"]
    words = ["finetuning.keep_head=true", "data.labels=[positive,negative]"]
    answer = heed("train", "task=sentiment", *given, *words, f"paths.output_dir={tmp_path}")
    assert answer.code == 2
    assert "tells negative, positive apart, and this task positive, negative" in answer.err


def test_a_head_of_another_task_cannot_be_kept(heed: Callable[..., Any], base: Path) -> None:
    words = [f"model.init_from={base}", "finetuning.keep_head=true"]
    answer = heed("check", "task=qa", *words)
    assert answer.code == 2
    fault = f"finetuning.keep_head needs a run of task=qa, but {base} is one of task=sentiment"
    assert fault in answer.err
    assert "keep_head" not in heed("check", "task=sentiment", *words).err


def test_another_run_starts_from_what_an_adapter_made(
    lora: tuple[Path, Any],
    tuned: Callable[..., tuple[Path, Any]],
    weights: Callable[..., Any],
    tmp_path: Path,
) -> None:
    still = ("optimizer.lr=1e-30", "optimizer.weight_decay=0", "finetuning.keep_head=true")
    run, _ = tuned(tmp_path, *still, start=lora[0])
    merged, after = run_weights(str(lora[0])), weights(run)
    assert merged.keys() == after.keys()
    assert all(merged[name].equal(after[name]) for name in merged)


def test_added_tokens_grow_the_table_and_are_trained_with_an_adapter(
    tuned: Callable[..., tuple[Path, Any]],
    heed: Callable[..., Any],
    base: Path,
    weights: Callable[..., Any],
    tmp_path: Path,
) -> None:
    still = ("optimizer.lr=1e-30", "optimizer.weight_decay=0", "tokenizer.add_tokens=[zyx,BRCA1]")
    before = run_weights(str(base))["backbone.encoder.embeddings.tokens.weight"]
    run, _ = tuned(tmp_path / "full", *still)
    after = weights(run)["backbone.encoder.embeddings.tokens.weight"]
    assert after.shape == (before.shape[0] + 2, before.shape[1])
    assert after[:-2].equal(before)
    assert not after[-2].equal(after[-1])
    run, _ = tuned(tmp_path / "lora", *LORA, *still)
    kept = weights(run)
    assert kept["backbone.encoder.embeddings.tokens.weight"].equal(after)
    assert "backbone.encoder.layers.0.self_attention.qkv.base_layer.weight" not in kept
    assert heed("train", f"resume={run}", "trainer.max_steps=4").code == 0
    predicted = heed("predict", f"run={run}", typed="zyx BRCA1\n")
    assert predicted.code == 0, predicted.err
    assert run_weights(str(run))["backbone.encoder.embeddings.tokens.weight"].equal(after)


def test_a_token_that_is_one_already_is_named_before_training(
    heed: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    words = ["tokenizer.add_tokens=['<pad>']", f"paths.output_dir={tmp_path}"]
    answer = heed("train", "task=sentiment", *tiny, *words)
    assert answer.code == 2
    assert "tokenizer.add_tokens must name new tokens, but '<pad>' is one already" in answer.err
