"""Overrides at random: whatever is typed ends in a config that runs or in clear errors.

`heed check` and, for a part of what it accepts, `heed train` are called in this process. Exit code
1 is a defect: it means that something else than a `UserError` was raised.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heed.cli import main
from heed.commands.amend import set_value
from heed.commands.compose import compose, config_dirs, leaves
from heed.commands.groups import group_options, groups
from heed.commands.rules import validate
from heed.errors import UserError

SECONDS = 120  # of one example, on a busy machine; a hang, not slowness
TINY = [
    *("model.d_model=14", "model.n_heads=2", "model.d_feed_forward=23", "model.n_layers=1"),
    *("tokenizer.vocabulary_size=300", "data.max_tokens=1500", "logger=csv", "trainer=cpu"),
    *("trainer.precision=32-true", "trainer.max_steps=1", "decoding=greedy"),
    *("decoding.max_length=5", "data.source.train_size=31", "data.source.validation_size=11"),
    *("data.source.test_size=7", "trainer.limit_val_batches=1", "trainer.limit_test_batches=1"),
]
# What would train for long, or on what is not there; or leave the test's folder.
NOT_TRAINED = ("paths.", "name", "resume", "hydra", "trainer.accelerator", "trainer.strategy")


# What somebody may type ---------------------------------------------------------------------------

GROUPS = [group for group in groups(config_dirs()) if group not in ("hydra", "paths")]
OPTIONS = {group: sorted(group_options(config_dirs(), group)) for group in GROUPS}
KEYS = sorted(
    {
        key
        for task in ("translation", "sentiment", "qa")
        for key, _ in leaves(compose("train", [f"task={task}"]))
        if not key.startswith(("choices.", "links.")) and not key.endswith("_target_")
    }
)

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=0, max_size=12)
numbers = st.one_of(
    st.integers(-3, 20).map(str),
    st.sampled_from(["0", "1", "-1", "7", "128", "1000000", "2147483648", "18446744073709551616"]),
    st.sampled_from(["1e3", "1e-4", "1e308", "1e400", "-1e-320", "nan", "inf", "-inf", ".5", "1."]),
    st.integers(10**20, 10**40).map(str),
    st.floats(allow_nan=False).map(str),
    st.sampled_from(["1_000", "0x10", "0o7", "1:30", "00", "+1", "1e", "--1", "9" * 5000]),
)
words = st.sampled_from(
    [
        *("true", "false", "null", "None", "yes", "???", "''", '""', "~", "auto", "none", "latest"),
        *("encoder", "decoder", "val/loss", "test/f1", "32-true", "16-mixed", "'1'", '"null"'),
        *("2020-01-01", "00:00:30:00", "a/b", "..", "[]", "{}", "[[]]", "{a:{}}", "a,b", "1,2"),
    ]
)
interpolations = st.sampled_from(
    [
        *("${seed}", "${oc.env:HOME}", "${oc.env:NO_SUCH_VARIABLE}", "${oc.env:NO_SUCH,3}"),
        *("${oc.eval:1+1}", "${now:%Y}", "${hydra:runtime.cwd}", "${oc.decode:'[1'}", "${"),
        *("${oc.create:{a:1}}", "${oc.dict.keys:model}", "${oc.select:none,5}", "${no.such.key}"),
        *("${model.${seed}}", "${.lr}", "${..seed}", "${model}", "${name}", "${data.path}", "$}{"),
        *(
            "${oc.deprecated:seed}",
            "${no_resolver:1}",
            "${trainer.max_steps}",
            "a${seed}b",
            "\\${x}",
        ),
    ]
)
functions = st.sampled_from(
    [
        *(
            "int(3)",
            "float(x)",
            "str([1])",
            "bool(2)",
            "choice(1,2)",
            "range(1,4)",
            "interval(0,1)",
        ),
        *("glob(*)", "sort(3,1)", "shuffle(1,2)", "tag(a,1)", "extend_list(1)", "json_str({})"),
        *("int(", "eval(1)", "__import__(os)", "choice()", "int(1,2)", "range(1,2,0)"),
    ]
)
simple = st.one_of(numbers, words, texts)
lists = st.lists(simple, max_size=3).map(lambda items: f"[{','.join(items)}]")
mappings = st.dictionaries(texts, simple, max_size=3).map(
    lambda items: "{" + ",".join(f"{key}:{value}" for key, value in items.items()) + "}"
)
broken = st.text("[]{}()'\"\\,:=$ ", max_size=8)
values = st.one_of(numbers, words, texts, interpolations, functions, lists, mappings, broken)

real_keys = st.sampled_from(KEYS)
misspelt = st.tuples(real_keys, st.integers(0, 40), st.sampled_from(["", "x", ".", "_", "é"])).map(
    lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] + 1 :]
)
keys = st.one_of(
    real_keys,
    real_keys,
    misspelt,
    st.tuples(real_keys, st.sampled_from([".x", "[0]", ".0", "@x", "._target_"])).map("".join),
    st.tuples(st.sampled_from(["+", "++", "~", "+~"]), real_keys).map("".join),
    st.sampled_from(GROUPS),
    st.sampled_from(["hydra/launcher", "hydra.run.dir", "hydra.searchpath", "hydra.mode", "hydra"]),
    texts,
)
choices = st.sampled_from(GROUPS).flatmap(
    lambda group: st.tuples(
        st.just(group),
        st.one_of(st.sampled_from(OPTIONS[group]), st.sampled_from(OPTIONS[group]), values),
    )
)
# A foreign target would be somebody's code; these do nothing when they are called.
targets = st.tuples(
    st.sampled_from(["task", "model", "decoding", "optimizer", "callbacks.last"]).map(
        lambda key: f"{key}._target_"
    ),
    st.sampled_from(["builtins.dict", "no.such.Thing", "heed.files.os", "x", "heed.tasks.qa", "3"]),
)
overrides = st.one_of(
    st.tuples(keys, values),
    st.tuples(real_keys, numbers),
    choices,
    targets,
).map("=".join)
lines = st.lists(st.one_of(overrides, overrides, overrides, texts), min_size=1, max_size=3)


# What is done with it -----------------------------------------------------------------------------


class Hang(BaseException):
    """An example took longer than any should."""


@contextlib.contextmanager
def deadline(seconds: int = SECONDS) -> Iterator[None]:
    """Raise `Hang` in the block once so many seconds are over."""

    def stop(signum: int, frame: Any) -> None:
        raise Hang(f"still busy after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def heed(*words: str) -> tuple[int, str]:
    """The exit code of a command, and all that it said."""
    said = io.StringIO()
    argv, sys.argv = sys.argv, ["heed", *words]
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), deadline():
            code = main(list(words))
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    finally:
        sys.argv = argv
    return code, said.getvalue()


def checked(line: list[str]) -> bool:
    """Whether `heed check` accepts a line; fails if it answers with anything but an error."""
    code, said = heed("check", *TINY, *line)
    assert code in (0, 2), said
    assert "Traceback" not in said
    if code == 2:
        assert said.splitlines()[0].startswith("error: "), said
    return code == 0


def trained(line: list[str], number: int) -> None:
    """Train a step with a line that was accepted."""
    folder = Path(f"trained-{number}").resolve()
    bounds = [f"paths.output_dir={folder}", "trainer.max_steps=1", "name=random"]
    code, said = heed("train", *TINY, *line, *bounds)
    assert code in (0, 2), said
    assert "Traceback" not in said


def worth_training(line: list[str]) -> bool:
    """Whether a line asks for something small that is here."""
    if any(word.lstrip("+~").startswith(NOT_TRAINED) for word in line):
        return False
    try:
        config = compose("train", [*TINY, *line])
    except UserError:
        return False
    source, model = config["data"]["source"], config["model"]
    sizes = [source.get(f"{split}_size", 10**9) for split in ("train", "validation", "test")]
    widths = [model.get(name) or 0 for name in ("d_model", "d_feed_forward", "n_layers")]
    return max(sizes) <= 1000 and max(widths) <= 512 and config["trainer"]["devices"] in (1, "auto")


@pytest.fixture(autouse=True)
def _somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(examples: int, *, trains_every: int) -> Counter[str]:
    """So many lines, every so many accepted ones trained; what came of them."""
    came: Counter[str] = Counter()

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(lines)
    def one(line: list[str]) -> None:
        line = [word for word in line if not word.startswith("-")]  # options are not overrides
        accepted = checked(line)
        came["accepted" if accepted else "refused"] += 1
        if accepted and came["accepted"] % trains_every == 0 and worth_training(line):
            trained(line, came["trained"])
            came["trained"] += 1

    one()
    return came


def test_some_lines_at_random() -> None:
    assert sum(run(12, trains_every=1000).values()) >= 12


@settings(max_examples=100, derandomize=True, database=None, deadline=None)
@given(overrides)
def test_a_frozen_config_is_changed_and_checked(word: str) -> None:
    """The path of `heed evaluate run=... KEY=VALUE`, without composing."""
    config = compose_once()
    with contextlib.suppress(UserError):
        set_value(config, word)
        validate(config)


_KNOWN: dict[str, Any] = {}


def compose_once() -> dict[str, Any]:
    """A fresh copy of one config."""
    import copy

    if not _KNOWN:
        _KNOWN.update(compose("train", TINY))
    return copy.deepcopy(_KNOWN)


@pytest.mark.skipif(os.name != "posix", reason="needs SIGALRM")
@pytest.mark.parametrize(
    ("examples", "least_trained"),
    [
        pytest.param(250, 1, marks=pytest.mark.learning),
        pytest.param(1000, 5, marks=pytest.mark.faults),
    ],
)
def test_many_lines_at_random(
    examples: int, least_trained: int, capsys: pytest.CaptureFixture[str]
) -> None:
    came = run(examples, trains_every=4)
    with capsys.disabled():
        print(f"\n{dict(came)}")
    assert came["accepted"] + came["refused"] >= examples
    assert came["accepted"] >= examples // 50
    assert came["trained"] >= least_trained
