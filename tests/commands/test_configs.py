"""Every shipped config: composed, checked, and bound to the real signatures it targets."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.stand_ins import of_others, stand_ins

from heed.commands.assemble import DESCRIPTIVE
from heed.commands.bind import OURS, PARTS, listed, targets
from heed.commands.build import TARGET, locate
from heed.commands.compose import compose, config_dir
from heed.commands.groups import HIDDEN, description, group_options, groups
from heed.commands.rules import validate
from heed.commands.signatures import signature_of
from heed.errors import UserError

FOLDER = config_dir()
FILES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.yaml"))
OPTIONS = {group: list(group_options([FOLDER], group)) for group in groups([FOLDER])}
ALONE = {"model": of_others(), "tokenizer": ["pretrained"]}  # a checkpoint has its tokenizer
TOGETHER = [  # groups whose options do not depend on one another
    group for group in OPTIONS if group not in ("task", "data", "hydra", "experiment", "debug")
]


def rounds() -> list[list[str]]:
    """Words for as many configs as hold every option of every group at least once."""
    made = []
    for number in range(max(map(len, OPTIONS.values()))):
        data = OPTIONS["data"][number % len(OPTIONS["data"])]
        tasks = yaml.safe_load((FOLDER / "data" / f"{data}.yaml").read_text())["tasks"]
        words = [f"data={data}", f"task={tasks[number % len(tasks)]}"]
        for group in TOGETHER:
            names = [name for name in OPTIONS[group] if name not in ALONE.get(group, ())]
            words.append(f"{group}={names[number % len(names)]}")
        made.append(words)
    for name in of_others():
        made.append(["data=builtin", "task=sentiment", f"model={name}", "tokenizer=pretrained"])
    made += [["data=builtin", f"task={task}"] for task in OPTIONS["task"]]
    made += [[f"debug={name}"] for name in OPTIONS.get("debug", [])]
    made += [[f"experiment={name}"] for name in OPTIONS.get("experiment", [])]
    return made


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The configs of all rounds, composed once."""
    folder = tmp_path_factory.mktemp("local")
    extra = {
        "data=local": [f"data.path={folder}"],
        "tokenizer=file": [f"tokenizer.path={folder}"],
        "tokenizer=hub": ["tokenizer.name=bert-base-cased"],
    }
    composed = {}
    for words in rounds():
        more = [more for word in words for more in extra.get(word, [])]
        more += stand_ins(words, folder / "checkpoint")
        composed[" ".join(words)] = compose("train", words + more)
    return composed


def test_every_option_is_in_some_round() -> None:
    words = {word for made in rounds() for word in made}
    for group, names in OPTIONS.items():
        if group != "hydra":
            for name in names:
                assert f"{group}={name}" in words


@pytest.mark.parametrize("name", FILES)
def test_every_config_begins_with_its_description(name: str) -> None:
    said = description(FOLDER / name)
    assert len(said) > 5
    assert said[-1] in ".?!)"
    if not Path(name).name.startswith(HIDDEN):
        first, second = (FOLDER / name).read_text(encoding="utf-8").splitlines()[:2]
        assert said in (first if "@package" not in first else second)


NOT_TOGETHER = (  # choices that are right by themselves
    "trainer=deepspeed needs the package",
    "callbacks.ema.decay must be null with trainer=fsdp2",
    "optimizer must keep its state in the shape of the parameters with trainer=fsdp2",
    "adapter needs a model that starts from weights",
    "finetuning.freeze needs a model that starts from weights",
    "finetuning.freeze must be left out with adapter=",
)


def test_every_shipped_config_passes_the_checks(configs: dict[str, dict[str, Any]]) -> None:
    for words, config in configs.items():
        if "data.path" not in words:
            try:
                validate(config)
            except UserError as error:
                said = [str(one) for one in getattr(error, "errors", [error])]
                rest = [one for one in said if not one.startswith(NOT_TOGETHER)]
                assert not rest, f"{words}: {rest}"


def parameters(target: Callable[..., Any]) -> tuple[dict[str, inspect.Parameter], bool]:
    """What a target takes by name, through every `**settings` it hands on; whether more."""
    found: dict[str, inspect.Parameter] = {}
    layers = (
        [vars(cls).get("__init__") for cls in target.__mro__] if inspect.isclass(target) else []
    )
    for function in [layer for layer in layers if layer is not None] or [target]:
        more = False
        for number, parameter in enumerate(inspect.signature(function).parameters.values()):
            if parameter.kind is parameter.VAR_KEYWORD:
                more = True
            elif parameter.kind is not parameter.VAR_POSITIONAL and (not layers or number):
                found.setdefault(parameter.name, parameter)
        if not more:
            return found, False
    return found, True


def test_every_node_binds_to_the_real_signature_it_targets(
    configs: dict[str, dict[str, Any]],
) -> None:
    """By importing the targets; the checks before a run read the same from source."""
    bound = set()
    for words, config in configs.items():
        for key, node in targets(config):
            target = node[TARGET]
            takes, more = parameters(locate(target))
            parts = set(listed(PARTS, key))
            given = set(node) - {TARGET}
            own = set(takes) - parts
            given -= {name for name in listed(DESCRIPTIVE, key) if name not in own}
            assert more or given <= own, (words, key, given - own)
            needed = {n for n, p in takes.items() if p.default is p.empty}
            assert needed <= given | parts, (words, key, needed - given - parts)
            if target.startswith(OURS):
                read = signature_of(target, key)
                assert set(read.parameters) == set(takes), target
                assert {n for n, p in read.parameters.items() if p.required} == needed, target
                assert read.open == more, target
            bound.add(target)
    assert len(bound) > 30


def test_the_parts_that_the_program_gives_are_real(configs: dict[str, dict[str, Any]]) -> None:
    """A part in the table that no target takes would hide a missing key."""
    taken: dict[str, set[str]] = {pattern: set() for pattern in PARTS}
    for config in configs.values():
        for key, node in targets(config):
            for pattern in PARTS:
                if listed({pattern: ("x",)}, key):
                    taken[pattern] |= set(parameters(locate(node[TARGET]))[0])
    for pattern, parts in PARTS.items():
        assert set(parts) <= taken[pattern], pattern


def test_the_other_verbs_have_their_configs() -> None:
    for verb in ("evaluate", "predict"):
        content = yaml.safe_load((FOLDER / f"{verb}.yaml").read_text())
        assert content["run"] == "???"
        assert content["checkpoint"] == "best"
