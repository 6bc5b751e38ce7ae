"""The documents: links lead somewhere, commands are right, and what they name exists."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.stand_ins import stand_in, stand_ins

from heed import cli
from heed.commands.arguments import parse_arguments
from heed.commands.compose import compose, config_dir
from heed.commands.groups import group_options, groups, read_yaml
from heed.commands.rules import validate
from heed.commands.sweep import visit
from heed.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FOLDERS = [config_dir()]
GROUPS = groups(FOLDERS)
# Words for what only the reader has; FOLDER and FILE are made for the test.
PLACEHOLDER = re.compile(r"\b(?:DIR|RUN|NAME|GROUP|COMMAND|COLUMN)\b")
FILES = ("tokenizer.json", "model.safetensors")  # names that only look like keys
SHOWN_WRONG = ("heed train task=sentiment model=smal",)


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """(language, content) of each block of code: fenced, or indented by four spaces."""
    rest = []
    language: str | None = None
    content: list[str] = []
    for line in text.splitlines():
        if line.startswith("```"):
            if language is None:
                language, content = line[3:].strip(), []
            else:
                yield language, "\n".join(content)
                language = None
        elif language is not None:
            content.append(line)
        else:
            rest.append(line)
    indented = [line[4:] for line in rest if line.startswith("    ")]
    yield "", "\n".join(indented)


def commands() -> list[str]:
    """Each different `heed ...` line of the documents, as somebody would type it."""
    lines: dict[str, None] = {}
    for page in PAGES:
        for _, block in blocks(page.read_text(encoding="utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                typed = line.strip().removeprefix("$ ").split("  #")[0].split(" # ")[0].strip()
                if typed.startswith("make train ARGS="):
                    typed = "heed train " + shlex.split(typed)[2].removeprefix("ARGS=")
                if typed.startswith("heed "):
                    lines[typed] = None
    return list(lines)


COMMANDS = commands()


def test_the_documents_have_commands() -> None:
    assert len(COMMANDS) > 20
    assert len({line.split()[1] for line in COMMANDS}) >= len(cli.VERBS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target:
            assert (page.parent / target.split("#")[0]).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_is_right(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command has a verb; those that train or check are composed and checked."""
    words = shlex.split(line)[1:]
    verb, rest = words[0], words[1:]
    if verb in ("COMMAND", "--help"):
        return
    assert verb in cli.VERBS, f"there is no heed {verb}"
    if verb not in ("train", "check") or PLACEHOLDER.search(line) or "--config-dir" in line:
        return
    rest = [word for word in rest if word != "--cfg"]
    monkeypatch.chdir(tmp_path)
    stand_in(tmp_path / "FOLDER", "pretrained")
    for name in ("FILE", "reviews.csv"):
        (tmp_path / name).touch()
    if "model=pretrained" not in rest:
        rest += stand_ins(rest, tmp_path / "checkpoint")
    arguments = parse_arguments(rest, usage="")
    if line in SHOWN_WRONG:
        with pytest.raises(UserError):
            compose("train", arguments.overrides)
    elif arguments.multirun:
        visit("train", arguments.overrides, lambda config, point: None, check=validate)
    else:
        validate(compose("train", arguments.overrides))


def test_options_that_are_named_exist() -> None:
    """`model=tiny` and the like, wherever they stand."""
    named = set()
    for page in PAGES:
        for line in page.read_text(encoding="utf-8").splitlines():
            if "--config-dir" not in line:
                named |= {
                    (group, option)
                    for group, options in re.findall(r"(?<![\w.])(\w+)=([\w,\[\]-]+)", line)
                    if group in GROUPS
                    for option in options.strip("[]").split(",")
                }
    assert ("task", "sentiment") in named
    wrong = [
        f"{group}={option}"
        for group, option in sorted(named)
        if option not in group_options(FOLDERS, group)
        and f"{group}={option}" not in " ".join(SHOWN_WRONG)
        and option != "null"
        and not option.isupper()
    ]
    assert not wrong


def keys(node: Any, prefix: str) -> Iterator[str]:
    yield prefix
    if isinstance(node, dict):
        for name, value in node.items():
            yield from keys(value, f"{prefix}.{name}")


def test_keys_that_are_named_exist() -> None:
    """`data.max_tokens` and the like, where a document has them between backquotes."""
    known = set(keys(read_yaml(config_dir() / "train.yaml"), ""))
    for group in GROUPS:
        for path in (config_dir() / group).glob("*.yaml"):
            content = read_yaml(path)
            known |= set(keys(content, group)) | set(keys(content.get(group), group))
    named = set()
    for page in PAGES:
        for code in re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8")):
            for key in re.findall(r"(?<![\w./+])([a-z_]+(?:\.[a-z_]+)+)(?![\w./])", code):
                if key.split(".")[0] in GROUPS:
                    named.add(key)
    assert "data.max_tokens" in named
    assert not sorted(
        key for key in named - known if not key.startswith("data.columns.") and key not in FILES
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_can_be_read(page: Path) -> None:
    """Python and YAML in the documents have no slips; what they do is tried in the notebook."""
    for language, block in blocks(page.read_text(encoding="utf-8")):
        if language == "python":
            ast.parse(block)
        elif language == "yaml":
            assert isinstance(yaml.safe_load(block), dict)
