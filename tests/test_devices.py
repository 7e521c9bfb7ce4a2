"""Names of devices."""

import pytest
import torch

from cmah.devices import chosen_device
from cmah.errors import ConfigError


def test_devices_that_are_there():
    assert chosen_device("cpu") == torch.device("cpu")
    assert chosen_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["", "gpu", "meta", "mps", "cpu:1", "cuda:x", "cuda:-1", "Auto", 3, None])
def test_other_names(name):
    with pytest.raises(ConfigError, match="expected auto, cpu, cuda or cuda:N"):
        chosen_device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_no_such_device(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="no such device"):
        chosen_device(name)
