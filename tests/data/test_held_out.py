"""Rows held out of the training data."""

from heed.data.held_out import held_out_rows


def test_shares_and_numbers_of_rows():
    taken = held_out_rows(997, {"validation": 0.1, "test": 31}, seed=3)
    assert {split: len(rows) for split, rows in taken.items()} == {"validation": 100, "test": 31}
    assert not taken["validation"] & taken["test"]
    assert taken["validation"] | taken["test"] <= set(range(997))


def test_the_seed_decides():
    one = held_out_rows(997, {"validation": 53}, seed=3)
    assert held_out_rows(997, {"validation": 53}, seed=3) == one
    assert held_out_rows(997, {"validation": 53}, seed=4) != one


def test_rows_are_taken_from_everywhere():
    (rows,) = held_out_rows(10_007, {"validation": 0.1}, seed=0).values()
    tenths = [sum(1 for row in rows if row * 10 // 10_007 == tenth) for tenth in range(10)]
    assert min(tenths) > 60  # 100 each, with a standard deviation of 9


def test_at_least_one_row_is_taken_and_one_is_left():
    assert len(held_out_rows(3, {"validation": 0.01}, seed=0)["validation"]) == 1
    assert len(held_out_rows(3, {"validation": 500}, seed=0)["validation"]) == 2


def test_nothing_is_taken_for_null():
    assert held_out_rows(7, {"validation": None, "test": 2}, seed=0).keys() == {"test"}
