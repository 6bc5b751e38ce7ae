"""Files from strangers are data: no loader here runs what is in them.

The source is read for every way of loading that would run something, and real malicious files are
given to the commands. Each would make a file, the canary, if anything in it ran.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import pickle
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from heed.cli import main
from heed.data.hub import load_hub_split
from heed.errors import UserError
from heed.text.tokenizer import Tokenizer
from heed.training.checkpoint_io import load_checkpoint

PACKAGE = Path(main.__code__.co_filename).parent

# The source ---------------------------------------------------------------------------------------

# Call -> what must be among its arguments for it to be harmless; None: nothing makes it so.
DANGEROUS: dict[str, str | None] = {
    "torch.load": "weights_only=True",
    "yaml.load": "Loader=",
    "yaml.unsafe_load": None,
    "yaml.full_load": None,
    "pickle.load": None,
    "pickle.loads": None,
    "pickle.Unpickler": None,
    "dill.load": None,
    "joblib.load": None,
    "marshal.loads": None,
    "shelve.open": None,
    "pandas.read_pickle": None,
    "os.system": None,
    "eval": None,
    "exec": None,
    "compile": None,
    "__import__": None,
}
FORBIDDEN_ARGUMENTS = {"allow_pickle": True, "trust_remote_code": True, "shell": True}
# An unpickler of its own, whose `find_class` lets nothing through but plain kinds.
RESTRICTED = {"training/sharded_checkpoint.py": "_PlainUnpickler"}
LOADERS = ("_Loader", "loader", "SafeLoader", "CSafeLoader")  # subclasses of the safe one


def dangers(source: str) -> Iterator[str]:
    """Every call in some source that would run what a file says."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            bases = [ast.unparse(base) for base in node.bases]
            if "pickle.Unpickler" in bases and "find_class" not in ast.unparse(node):
                yield f"{node.name} is an unpickler that lets anything through"
        if not isinstance(node, ast.Call):
            continue
        name, said = ast.unparse(node.func), ast.unparse(node)
        if name in DANGEROUS:
            needed = DANGEROUS[name]
            if needed is None or needed not in said:
                yield said
        for argument in node.keywords:
            value = getattr(argument.value, "value", None)
            if argument.arg in FORBIDDEN_ARGUMENTS and value is FORBIDDEN_ARGUMENTS[argument.arg]:
                yield said
            if name == "yaml.load" and argument.arg == "Loader":
                loader = ast.unparse(argument.value)
                if loader.rpartition(".")[2] not in LOADERS:
                    yield said


def test_nothing_in_the_source_runs_what_a_file_says() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix(): list(dangers(path.read_text(encoding="utf-8")))
        for path in PACKAGE.rglob("*.py")
    }
    assert len(found) > 100
    assert {name: calls for name, calls in found.items() if calls} == {}


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "pickle.load(file)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(file, Loader=yaml.UnsafeLoader)",
        "yaml.load(file)",
        "load_dataset(name, trust_remote_code=True)",
        "subprocess.run(words, shell=True)",
        "eval(text)",
        "class Mine(pickle.Unpickler):\n    pass",
    ],
)
def test_the_reader_of_the_source_sees_each_danger(source: str) -> None:
    assert len(list(dangers(source))) == 1
    harmless = "torch.load(path, weights_only=True)\nyaml.load(file, Loader=_Loader)\nmodel.eval()"
    assert list(dangers(harmless)) == []


# Real files ---------------------------------------------------------------------------------------


class Touch:
    """What a stranger's pickle would do."""

    def __reduce__(self) -> Any:
        return os.system, ('touch "$CANARY"',)


@pytest.fixture(autouse=True)
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that no test may make."""
    path = tmp_path / "canary"
    monkeypatch.setenv("CANARY", str(path))
    yield path
    assert not path.exists()


def test_the_canary_would_be_made(canary: Path) -> None:
    pickle.loads(pickle.dumps(Touch()))
    assert canary.exists()
    canary.unlink()


def heed(*words: str) -> tuple[int, str]:
    said = io.StringIO()
    argv, sys.argv = sys.argv, ["heed", *words]
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = main(list(words))
    finally:
        sys.argv = argv
    return code, said.getvalue()


def as_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"state_dict": Touch()}))


def as_checkpoint(path: Path) -> None:
    import torch

    torch.save({"state_dict": {}, "hyper_parameters": Touch()}, path)


def as_old_checkpoint(path: Path) -> None:
    import torch

    torch.save({"state_dict": Touch()}, path, _use_new_zipfile_serialization=False)


def as_script(path: Path) -> None:
    """A TorchScript archive whose code is a stranger's."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Touch(), protocol=2))
        archive.writestr("archive/constants.pkl", pickle.dumps(Touch(), protocol=2))
        archive.writestr("archive/version", "3\n")


@pytest.mark.filterwarnings("ignore:.*looks like a TorchScript archive")
@pytest.mark.parametrize("make", [as_pickle, as_checkpoint, as_old_checkpoint, as_script])
def test_a_checkpoint(make: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    make(path)
    with pytest.raises(UserError, match=r"last\.ckpt"):
        load_checkpoint(path)


@pytest.mark.parametrize("name", ["train.pkl", "train.pt", "train.npy", "train.pickle", "train.py"])
def test_data_of_a_kind_that_could_run(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name.endswith(".npy"):
        np.save(path, np.array([Touch()]), allow_pickle=True)
    elif name.endswith(".py"):
        path.write_text("import os\nos.system('touch \"$CANARY\"')\n")
    else:
        as_pickle(path)
    words = ["task=sentiment", "data=local", f"paths.output_dir={tmp_path / 'runs'}"]
    code, said = heed("train", *words, f"data.path={path}")
    assert code == 2, said
    assert f"{path} must be a file of a known kind" in said
    code, said = heed("train", *words, f"data.path={tmp_path}")
    assert code == 2, said
    assert "must be a folder with training data, but" in said


def test_a_data_folder_with_a_loading_script(tmp_path: Path) -> None:
    """The script is not run; the folder's tables are read as they are."""
    folder = tmp_path / "sst2"
    folder.mkdir()
    script = "import os\nos.system('touch \"$CANARY\"')\n"
    for name in ("sst2.py", "train.py", "dataset_infos.py", "setup.py", "__init__.py"):
        (folder / name).write_text(script)
    rows = [{"sentence": f"a fine film {n}", "label": n % 2} for n in range(20)]
    table = pyarrow.Table.from_pylist(rows).replace_schema_metadata(
        {
            b"pandas": pickle.dumps(Touch()),
            b"huggingface": b'{"info": {"builder": "!!python/object/apply:os.system"}}',
        }
    )
    for split in ("train", "validation"):
        pyarrow.parquet.write_table(table, folder / f"{split}.parquet")
    words = ["model=tiny", "trainer.max_steps=1", "tokenizer.vocabulary_size=300", "trainer=cpu"]
    words += [f"paths.output_dir={tmp_path / 'runs'}", "callbacks.progress=null", "logger=csv"]
    code, said = heed("train", "task=sentiment", "data=sst2", f"data.path={folder}", *words)
    assert code == 0, said


@pytest.mark.parametrize("name", ["./sst2", "../x", "/tmp/x", "pandas", "a/b/c", "sst2.py", "a b"])
def test_a_hub_name_is_no_path_and_no_program(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sst2").mkdir()
    (tmp_path / "sst2" / "sst2.py").write_text("import os\nos.system('touch \"$CANARY\"')\n")
    with pytest.raises(UserError, match=r"data\.source\.hub must be a data set's name"):
        load_hub_split(name, None, "train")


def test_a_folder_that_is_named_like_a_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "stanfordnlp" / "sst2"
    folder.mkdir(parents=True)
    (folder / "sst2.py").write_text("import os\nos.system('touch \"$CANARY\"')\n")
    with pytest.raises(UserError, match=r"data\.source\.hub must be .* but there is a folder"):
        load_hub_split("stanfordnlp/sst2", None, "train")


def test_a_tokenizer_with_code_beside_it(tmp_path: Path) -> None:
    """`auto_map` names a class in a Python file beside it, which transformers would import."""
    import tokenizers

    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "tokenization_mine.py").write_text("import os\nos.system('touch \"$CANARY\"')\n")
    settings = {
        "auto_map": {"AutoTokenizer": ["tokenization_mine.Mine", None]},
        "tokenizer_class": "Mine",
        "trust_remote_code": True,
        "pad_token": "<pad>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match=r"a tokenizer must be a tokenizer\.json"):
        Tokenizer.load(folder)
    (folder / "tokenizer.json").write_bytes(pickle.dumps(Touch()))
    with pytest.raises(UserError, match=r"must be a tokenizer of the `tokenizers` library"):
        Tokenizer.load(folder)
    names = ["<pad>", "<unk>", "<s>", "</s>", "<sep>", "<cls>", "a"]
    model = tokenizers.models.WordLevel({name: n for n, name in enumerate(names)}, "<unk>")
    tokenizers.Tokenizer(model).save(str(folder / "tokenizer.json"))
    roles = {"bos": "<s>", "eos": "</s>", "unk": "<unk>", "sep": "<sep>", "cls": "<cls>"}
    assert Tokenizer.load(folder, special_tokens=roles).encode(["a"]) == [[6]]


def test_yaml_and_json_with_more_than_values(tmp_path: Path) -> None:
    """A user's own config folder is theirs, but its files are plain YAML too."""
    folder = tmp_path / "configs" / "model"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("x: !!python/object/apply:os.system ['touch \"$CANARY\"']\n")
    code, said = heed("check", "--config-dir", str(tmp_path / "configs"), "model=mine")
    assert code == 2, said
    assert "mine.yaml, line 1 is not valid YAML" in said
