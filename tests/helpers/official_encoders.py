"""Stand-ins for published weights files, and what the official networks made of them.

`goldens/encoders/<name>/names.json` says what a published file holds, `goldens/fill.py` gives every tensor a value
from its name, and `golden.npz` has the official outputs for those values.

    file = Official(shared, "uni3d_ti")
    encoder.load(str(file.save(tmp_path / "uni3d.pt")))
    assert file.close(encoder.embed(file.cloud()), "out")
"""

import argparse
import importlib.util
import json
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

BIG = 1 << 12  # tensors beside the tower with more values than this take no room: all values are one


class Official:
    """One published encoder: `Official(shared, name)`, with the names of goldens/encoders.

    Attributes:
        layout: names.json: container, prefix, other_outer_keys, entries (key, name, shape, dtype, needed).
        golden: golden.npz (absent for the names_only ones).
    """

    def __init__(self, shared: Path, name: str) -> None:
        self.goldens, self.name = shared / "goldens", name
        self.layout = json.loads((self.goldens / "encoders" / name / "names.json").read_text())

    @cached_property
    def golden(self) -> Any:
        return np.load(self.goldens / "encoders" / self.name / "golden.npz", allow_pickle=False)

    def cloud(self, rows: int | None = None) -> Tensor:
        """The official input, float32 [b, n, c]; the first `rows` clouds of it."""
        manifest = json.loads((self.goldens / "manifest.json").read_text())["encoders"]
        entry = next(entry for entry in manifest if entry["name"] == self.name)
        if "height" in entry["columns"]:
            return torch.tensor(self.golden["input"][:rows])
        clouds = np.load(self.goldens / "clouds.npz", allow_pickle=False)[entry["cloud"]][:rows]
        return torch.tensor(clouds if "rgb" in entry["columns"] else clouds[..., :3])

    def entries(self, *, every: bool = False) -> list[dict[str, Any]]:
        """The needed entries of names.json, or every one."""
        return [entry for entry in self.layout["entries"] if every or entry["needed"]]

    def weights(self, *, every: bool = False, filled: bool = True) -> dict[str, Tensor]:
        """Tensors by their key in the file, needed ones only or all; unfilled ones are ones that take no room."""
        fill = _fill(self.goldens / "fill.py")
        return {entry["key"]: _value(fill, entry, filled) for entry in self.entries(every=every)}

    def checkpoint(self, weights: dict[str, Tensor] | None = None, *, every: bool = False) -> Any:
        """The whole content of the published file, with optimizer, command line and whatever else it has."""
        content: Any = self.weights(every=every) if weights is None else weights
        for key in reversed(self.layout["container"]):
            content = {key: content}
        return content | {key: _beside(key) for key in self.layout["other_outer_keys"]}

    def save(self, path: Path, weights: dict[str, Tensor] | None = None, *, every: bool = False) -> Path:
        """Write the stand-in file; `weights` replaces the tensors by key."""
        torch.save(self.checkpoint(weights, every=every), path)
        return path

    def close(self, got: Tensor, key: str, *, rows: slice = slice(None)) -> bool:
        """Whether an array equals the golden one's rows, within 1e-9 of their rms (float64) or 5e-5."""
        double = f"{key}_f64" in self.golden.files
        whole = torch.as_tensor(self.golden[f"{key}_f64" if double else key]).double()
        expected = whole[rows]
        assert got.shape == expected.shape, (got.shape, expected.shape)
        bound = 1e-9 if double and got.dtype == torch.float64 else 5e-5
        return bool((got.double() - expected).abs().max() <= bound * whole.square().mean().sqrt())


@lru_cache(maxsize=1)
def _fill(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("fill", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.fill


def _value(fill: Any, entry: dict[str, Any], filled: bool) -> Tensor:
    dtype = getattr(torch, entry["dtype"])
    if not filled or (not entry["needed"] and np.prod(entry["shape"]) > BIG):
        return torch.ones((), dtype=dtype).expand(entry["shape"])
    return torch.tensor(fill(entry["name"], entry["shape"])).to(dtype)


def _beside(key: str) -> Any:
    """Something of the kind that published files keep beside the weights."""
    if key == "args":
        return argparse.Namespace(
            model="ULIP", lr=3e-3, betas=[0.9, 0.98], evaluate_3d=False, output_dir="out"
        )
    if key in ("optimizer", "scheduler", "scaler"):
        optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(3))])
        return optimizer.state_dict() | {"scale": 65536.0}
    if key in ("text_proj", "image_proj"):
        return {"module.weight": torch.ones(4, 4), "module.bias": torch.ones(4)}
    if key == "logit_scale":
        return torch.tensor(14.28)
    return {"acc": 1.0, "best": None} if "metrics" in key else 7
