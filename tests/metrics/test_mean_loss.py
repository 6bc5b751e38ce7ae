"""The mean of a loss, of batches of different counts."""

from __future__ import annotations

import math

import pytest
import torch

from heed.metrics.mean_loss import MeanLoss


def test_the_mean_is_over_what_was_counted():
    metric = MeanLoss()
    for total, count in ((6.0, 2.0), (1.0, 5.0)):
        metric.update(torch.tensor(total), torch.tensor(count))
    assert float(metric.compute()) == pytest.approx(7.0 / 7.0)
    metric.reset()
    metric.update(torch.tensor(3.0), torch.tensor(2.0))
    assert float(metric.compute()) == pytest.approx(1.5)


def test_it_is_zero_before_the_first_batch():
    """A process may have had no batch of an evaluation."""
    metric = MeanLoss()
    with pytest.warns(UserWarning, match="was called before"):
        assert float(metric.compute()) == 0.0


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is no float64 to sum in")
def test_many_small_batches_do_not_get_lost_beside_a_large_sum():
    """In fp32 alone, 0.25 added to 2 ** 24 is nothing."""
    metric = MeanLoss()
    metric.update(torch.tensor(2.0**24), torch.tensor(2.0**24))
    for _ in range(4096):
        metric.update(torch.tensor(0.25), torch.tensor(1.0))
    assert float(metric.compute()) == pytest.approx((2**24 + 1024) / (2**24 + 4096), abs=2e-7)


def test_processes_add_up():
    """What synchronising does to states: it adds them."""
    whole, parts = MeanLoss(), (MeanLoss(), MeanLoss())
    for number, (total, count) in enumerate(((6.1, 3.0), (1.3, 5.0), (2.9, 7.0))):
        for metric in (whole, parts[number % 2]):
            metric.update(torch.tensor(total), torch.tensor(count))
    merged = MeanLoss()
    merged.update(torch.tensor(0.0), torch.tensor(0.0))
    for name in merged.metric_state:
        setattr(merged, name, sum(getattr(part, name) for part in parts))
    assert merged._reductions.keys() == merged.metric_state.keys()
    torch.testing.assert_close(merged.compute(), whole.compute())


def test_a_loss_that_is_no_number_is_not_hidden():
    metric = MeanLoss()
    metric.update(torch.tensor(math.nan), torch.tensor(3.0))
    metric.update(torch.tensor(1.0), torch.tensor(3.0))
    assert math.isnan(float(metric.compute()))


def test_its_states_fit_a_device_without_float64(monkeypatch):
    """Apple's GPUs have none."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    metric = MeanLoss()
    metric.update(torch.tensor(7.0), torch.tensor(2.0))
    assert all(value.dtype != torch.float64 for value in metric.metric_state.values())
    assert float(metric.compute()) == pytest.approx(3.5)
