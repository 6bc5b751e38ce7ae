"""What `trainer.precision` means on a machine."""

from __future__ import annotations

import pytest
import torch
from lightning.pytorch import Trainer

from heed.training.precision import PRECISIONS, resolve_precision


@pytest.mark.parametrize("precision", [name for name in PRECISIONS if name != "auto"])
def test_what_is_given_is_kept(precision):
    for accelerator in ("auto", "cpu", "gpu", "mps"):
        assert resolve_precision(precision, accelerator) == precision


@pytest.mark.parametrize("accelerator", ["auto", "cpu", "mps"])
def test_auto_is_one_of_the_others_and_this_machine_can_multiply_it(accelerator):
    found = resolve_precision("auto", accelerator)
    assert found in {"32-true", "bf16-mixed", "16-mixed"}
    trainer = Trainer(
        accelerator="cpu",
        precision=resolve_precision("auto", "cpu"),
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
    )
    with trainer.precision_plugin.forward_context():
        product = torch.nn.functional.linear(torch.ones(3, 5), torch.ones(7, 5))
    torch.testing.assert_close(product.float(), torch.full((3, 7), 5.0))


def test_auto_is_exact_where_no_hardware_is_fast_in_less(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    assert resolve_precision("auto", "auto") == "32-true"
    assert resolve_precision("auto", "mps") == "32-true"


def test_auto_uses_matrix_tiles(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    assert resolve_precision("auto", "cpu") == "bf16-mixed"
    assert resolve_precision("auto", "mps") == "32-true"


@pytest.mark.parametrize(("supported", "found"), [(True, "bf16-mixed"), (False, "16-mixed")])
def test_auto_on_cuda_asks_what_the_device_multiplies_itself(monkeypatch, supported, found):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: supported)
    assert resolve_precision("auto", "gpu") == found
