"""Safetensors files of a run."""

import pytest
from safetensors import SafetensorError

from cmah.errors import CmahError
from cmah.runs import tensor_files


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    def full(*_):
        raise SafetensorError("No space left on device")

    monkeypatch.setattr(tensor_files, "save_file", full)
    with pytest.raises(CmahError, match=r"model\.safetensors: cannot be written \(No space left"):
        tensor_files.save_tensors(tmp_path / "model.safetensors", {}, {})
