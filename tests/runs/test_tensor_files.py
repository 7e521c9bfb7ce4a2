"""Safetensors files of a run."""

import os

import pytest
import torch
from safetensors import SafetensorError

from cmah.errors import CmahError
from cmah.runs import tensor_files


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    def full(*_):
        raise SafetensorError("No space left on device")

    monkeypatch.setattr(tensor_files, "save_file", full)
    with pytest.raises(CmahError, match=r"model\.safetensors: cannot be written \(No space left"):
        tensor_files.save_tensors(tmp_path / "model.safetensors", {}, {})


def test_weights_have_ordinary_permissions(tmp_path):
    old = os.umask(0o022)
    try:
        tensor_files.save_tensors(tmp_path / "a.safetensors", {"w": torch.ones(2)}, {})
    finally:
        os.umask(old)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == 0o644
