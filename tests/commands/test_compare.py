"""`heed compare`: on runs made by hand, and on real ones from training to table."""

from __future__ import annotations

import csv
import io
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_folders import make_run
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.significance import PairedTest

CURVE = "step,train/loss,val/accuracy\n1,2.0,\n2,1.0,50.0\n4,0.5,60.0\n"


@pytest.fixture
def where(tmp_path: Path) -> Path:
    """A folder with two systems of two seeds below outputs, and a run that failed."""
    for model in ("small", "tiny"):
        for seed in (1, 2):
            wrong = range(seed + 3 * (model == "tiny"))
            make_run(
                tmp_path / "outputs" / model / f"seed={seed}",
                changes={"choices.model": model, "model.d_model": len(model), "seed": seed},
                metrics={
                    "test/accuracy": 100.0 * (1 - len(wrong) / 20),
                    "test/loss": 0.5,
                    "val/accuracy": 60.0,
                },
                predictions=[
                    {"index": n, "prediction": "ab"[n in wrong], "references": ["a"]}
                    for n in range(20)
                ],
                curve=CURVE,
                phases={"training": 90.0 + seed},
                throughput={"tokens": 1000 * seed},
                started=f"2026-01-0{seed}T00:00:0{len(model)}+00:00",
            )
    make_run(tmp_path / "outputs" / "bad", status="failed")
    return tmp_path


@pytest.fixture
def compare(heed: Callable[..., Any], where: Path) -> Callable[..., Any]:
    """`compare("outputs")` is `heed compare outputs`, standing beside outputs."""
    return lambda *words: heed("compare", *words, where=where)


def test_systems_below_a_folder(compare: Callable[..., Any]) -> None:
    said = compare("outputs")
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0].split() == ["system", "runs", "accuracy", "95%", "p", "time"]
    assert lines[1].split()[:5] == ["model=tiny", "2", "77.50", "±", "3.54"]
    assert lines[2].split()[:5] == ["model=small", "2", "92.50", "±", "3.54"]
    assert lines[1].split()[-2:] == ["-", "0:01:32"]
    assert "p: against model=tiny, paired bootstrap, 1,000 samples, seed 12345" in said.out
    assert said.err == ("note: left out 1 of 5 runs, whose status is failed (outputs/bad)\n")


def test_runs_are_named_in_many_ways(compare: Callable[..., Any]) -> None:
    by_pattern = compare("outputs/small/*", "outputs/ti*/seed=?", "format=csv")
    rows = list(csv.DictReader(io.StringIO(by_pattern.out)))
    assert [(row["system"], row["runs"], row["seeds"]) for row in rows] == [
        ("model=small", "2", "[1, 2]"),
        ("model=tiny", "2", "[1, 2]"),
    ]
    assert "p: against model=small" in by_pattern.err
    single = compare("outputs/small/seed=2", "outputs/tiny/seed=1", "format=jsonl", "metric=loss")
    first, second = [json.loads(line) for line in single.out.splitlines()]
    assert (first["model"], first["test/loss"], first["test/loss.sd"]) == ("small", 0.5, None)
    assert (second["model"], second["tokens"]) == ("tiny", 1000.0)
    chosen = compare("outputs", "seed=2", "model=small", "format=csv")
    assert [row["seeds"] for row in csv.DictReader(io.StringIO(chosen.out))] == ["[2]"]


def test_groups_tests_and_formats(compare: Callable[..., Any], where: Path) -> None:
    said = compare("outputs", "by=seed", "test=none", "format=markdown")
    assert said.out.splitlines()[:4] == [
        "| system | runs | accuracy | 95% | time |",
        "|---|---:|---:|---:|---:|",
        said.out.splitlines()[2],
        said.out.splitlines()[3],
    ]
    assert said.out.splitlines()[2].startswith("| seed=1 | 2 | **87.50 ± 10.61** |")
    assert "- seed=1: its runs differ in model as well" in said.out
    done = compare("outputs", "output=table.tex", "test=randomization", "test_samples=100")
    assert done.out == "written to table.tex\n"
    table = (where / "table.tex").read_text("utf-8")
    assert "\\textbf{92.50 $\\pm$ 3.54}" in table
    assert "% p: against model=tiny, paired approximate randomization, 100 samples" in table
    assert compare("outputs", "output=table.tex").code == 2


def test_plots_and_a_page(compare: Callable[..., Any], where: Path) -> None:
    said = compare("outputs", "plots=pictures")
    assert said.err.splitlines()[-1] == (
        "written to pictures: learning-curves.png, score-against-cost.png, comparison.html"
    )
    from matplotlib.image import imread

    for name in ("learning-curves", "score-against-cost"):
        picture = imread(where / "pictures" / f"{name}.png")
        height, width, _ = picture.shape
        assert width > 1000
        assert height > 300
        assert (picture[..., :3].min(axis=2) < 0.5).mean() > 0.005  # something is drawn
    page = (where / "pictures" / "comparison.html").read_text("utf-8")
    assert page.count('src="data:image/png;base64,') == 2
    assert "http" not in page
    assert "<strong>92.50 ± 3.54</strong>" in page
    assert "heed compare outputs plots=pictures" in page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "heed compare needs runs; name run folders"),
        (["nowhere"], "nowhere is no run folder, no folder with runs below it, and no pattern"),
        (["empty"], "there are no runs at or below empty"),
        (["outputs", "metric=bleu"], "metric=bleu is a score of none of the 4 runs; there is"),
        (["outputs", "by=modl"], "'modl' is a key of none of the 5 runs; did you mean 'model'?"),
        (["outputs", "seed=9"], "none of the 5 runs can be compared; loosen the conditions"),
        (["outputs/bad"], "status=any takes those that have not ended well"),
        (["outputs", "confidence=95"], "confidence must be between 0 and 1, but is '95'"),
        (["outputs", "test=ttest"], "test must be one of bootstrap, randomization, none"),
        (["outputs", "plots=file"], "plots must be a folder, but file is a file"),
        (["outputs", "output=empty"], "output=empty has a name that does not tell its format"),
    ],
)
def test_mistakes(words: list[str], said: str, compare: Callable[..., Any], where: Path) -> None:
    (where / "empty").mkdir()
    (where / "file").touch()
    answer = compare(*words)
    assert answer.code == 2
    assert said in answer.err
    assert answer.out == ""


def test_any_status_can_be_compared(compare: Callable[..., Any]) -> None:
    rows = list(csv.DictReader(io.StringIO(compare("outputs", "status=any", "format=csv").out)))
    assert len(rows) == 3


def test_bleu_and_chrf_have_sacrebleus_p_values(heed: Callable[..., Any], tmp_path: Path) -> None:
    draw = random.Random(0)
    vocabulary = ["a", "small", "dog", "sees", "the", "house", "of", "Lena", "."]
    references = [" ".join(draw.choices(vocabulary, k=draw.randint(5, 12))) for _ in range(60)]
    systems = []
    for name, errors in (("base", 0.3), ("other", 0.31), ("better", 0.1)):
        changed = [
            " ".join(draw.choice(vocabulary) if draw.random() < errors else w for w in text.split())
            for text in references
        ]
        systems.append((name, changed))
        make_run(
            tmp_path / name,
            changes={"name": name, "task.monitor": "val/bleu", "task.bleu_tokenize": "13a"},
            metrics={
                "test/bleu": BLEU(force=True).corpus_score(changed, [references]).score,
                "test/chrf": CHRF().corpus_score(changed, [references]).score,
            },
            predictions=[
                {"index": n, "prediction": text, "references": [right]}
                for n, (text, right) in enumerate(zip(changed, references, strict=True))
            ],
        )
    names = [name for name, _ in systems]
    for test, short in (("bootstrap", "bs"), ("randomization", "ar")):
        words = (*names, f"test={test}", "test_samples=700", "format=jsonl")
        said = heed("compare", *words, where=tmp_path)
        assert "not tested" not in said.err
        rows = [json.loads(line) for line in said.out.splitlines()]
        assert [row["name"] for row in rows] == names
        metrics = {"bleu": BLEU(force=True), "chrf": CHRF()}
        _, theirs = PairedTest(systems, metrics, [references], short, n_samples=700)()
        for metric, column in (("bleu", "BLEU"), ("chrf", "chrF2")):
            wanted = [one.p_value for one in theirs[column]]
            assert [row[f"test/{metric}.p"] for row in rows] == wanted
            assert wanted[2] < 0.01 < wanted[1] < 1


@pytest.mark.parametrize("task", ["sentiment", "qa", "translation"])
def test_predictions_of_a_training_give_its_scores(
    task: str, run_folder: Callable[[str], Path], heed: Callable[..., Any], tmp_path: Path
) -> None:
    """A real run against itself under another name: every score can be tested, none differs."""
    run = run_folder(task)
    shutil.copytree(run, tmp_path / "again")
    config = tmp_path / "again" / "config.yaml"
    config.write_text(config.read_text("utf-8").replace("name: shared", "name: again"), "utf-8")
    said = heed("compare", str(run), "again", where=tmp_path)
    assert said.code == 0, said.err
    assert "name=shared" in said.out
    assert "not tested" not in said.out
    assert said.out.splitlines()[2].count("same") == 2
