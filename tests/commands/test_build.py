"""Objects from config nodes."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from heed.commands.build import build, locate
from heed.errors import UserError


def test_a_node_becomes_what_its_target_makes_of_its_keys() -> None:
    node = {"_target_": "fractions.Fraction", "numerator": 6, "denominator": 4}
    assert build(node) == Fraction(3, 2)
    assert node == {"_target_": "fractions.Fraction", "numerator": 6, "denominator": 4}


def test_parts_are_added_and_take_the_place_of_keys() -> None:
    node = {"_target_": "fractions.Fraction", "numerator": 6}
    assert build(node, denominator=4) == Fraction(3, 2)
    assert build(node, numerator=1, denominator=4) == Fraction(1, 4)


def test_nested_nodes_are_built_first_in_mappings_and_lists() -> None:
    half = {"_target_": "fractions.Fraction", "numerator": 1, "denominator": 2}
    assert build({"_target_": "fractions.Fraction", "numerator": half}) == Fraction(1, 2)
    made = build({"_target_": "builtins.dict", "a": [half, 3], "b": {"c": half}})
    assert made == {"a": [Fraction(1, 2), 3], "b": {"c": Fraction(1, 2)}}


def test_class_methods_can_be_targets() -> None:
    node = {"_target_": "fractions.Fraction.from_float", "f": 0.25}
    assert build(node) == Fraction(1, 4)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("fractions.Fractoin", "task._target_ is fractions.Fractoin, but fractions has no "),
        ("fractions.Fractoin", "did you mean 'Fraction'?"),
        ("no_such_package.Task", "there is no module 'no_such_package'"),
        ("heed.taks.Task", "heed has no 'taks'"),
        ("Task", "must be the dotted name of a class or function, but is 'Task'"),
        ("math.pi", "must name a class or function, but math.pi is neither"),
    ],
)
def test_a_target_that_cannot_be_found(target: str, words: str) -> None:
    with pytest.raises(UserError) as error:
        locate(target, key="task._target_")
    assert words in str(error.value)
    assert "task._target_" in str(error.value)


def test_a_key_that_the_target_does_not_take() -> None:
    node = {"_target_": "fractions.Fraction", "numerater": 6}
    with pytest.raises(UserError) as error:
        build(node, key="task")
    assert str(error.value) == (
        "task.numerater is not a parameter of fractions.Fraction; did you mean 'numerator'?"
    )


def test_a_key_that_is_missing() -> None:
    with pytest.raises(UserError, match="task cannot be built: .*missing .* 'decimal_text'|'f'"):
        build({"_target_": "fractions.Fraction.from_float"}, key="task")


def test_a_users_module_is_found_where_the_command_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_own_task.py").write_text("def make(*, size: int):\n    return size + 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [])  # restored, with what locate adds, after the test
    assert build({"_target_": "my_own_task.make", "size": 3}) == 4


def test_a_users_module_that_does_not_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_broken_task.py").write_text("import no_such_package_at_all\n")
    (tmp_path / "my_wrong_task.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="needs 'no_such_package_at_all', which is not installed"):
        locate("my_broken_task.Task")
    with pytest.raises(UserError, match="importing my_wrong_task fails: ZeroDivisionError"):
        locate("my_wrong_task.Task")


def test_a_type_error_inside_a_target_stays_a_defect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_defect.py").write_text("def make(*, size):\n    return size + 'x'\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TypeError, match="unsupported operand"):
        build({"_target_": "my_defect.make", "size": 3})


def test_a_key_refused_further_up_is_told_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_subclass.py").write_text(
        "class Above:\n    def __init__(self, *, size): pass\n"
        "class Mine(Above):\n    def __init__(self, **rest): super().__init__(**rest)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        UserError, match="task cannot be built: .* unexpected keyword argument 'siez'"
    ):
        build({"_target_": "my_subclass.Mine", "siez": 3}, key="task")
