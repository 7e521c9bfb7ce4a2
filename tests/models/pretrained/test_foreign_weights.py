"""Reading weights files of others: nothing is unpickled, and every key under the tower is accounted for."""

import argparse
import collections
import fractions
import os

import pytest
import torch
from official_encoders import Official
from safetensors.torch import save_file
from torch import nn

from cmah.errors import RunError
from cmah.models.pretrained.foreign_weights import (
    Layout,
    load_strictly,
    load_tower,
    read_checkpoint,
    read_weights,
)


class Tower(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2)
        self.scale = nn.Parameter(torch.zeros(2))


LAYOUT = Layout(
    ("state_dict",),
    ("module.", ""),
    ("point.",),
    {"net.": "point.conv.", "norm.": "point.bn.", "scale": "point.scale"},
    unused=("point.head.",),
)


def published(prefix="module."):
    """A state dict with a tower of nine tensors, one of them unused, and two tensors beside it."""
    state = {f"point.bn.{key}": value for key, value in nn.BatchNorm1d(2).state_dict().items()}
    state |= {"point.conv.weight": torch.arange(6.0).reshape(2, 3, 1), "point.conv.bias": torch.ones(2)}
    state |= {"point.scale": torch.tensor([[3.0, 4.0]]), "point.head.weight": torch.ones(5)}
    state |= {"logit_scale": torch.ones(()), "visual.conv.weight": torch.ones(3)}
    return {prefix + key: value for key, value in state.items()}


@pytest.mark.parametrize("prefix", ["module.", ""])
@pytest.mark.parametrize("nested", [True, False])
def test_loads_with_and_without_the_wrappers(prefix, nested):
    tower, state = Tower(), published(prefix)
    assert load_tower(tower, {"state_dict": state, "epoch": 3} if nested else state, [LAYOUT], "f") == 3
    assert tower.net.weight.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert tower.scale.tolist() == [3, 4]


def test_only_the_needed_entries():
    state = {key: value for key, value in published().items() if ".point." in key and "head" not in key}
    assert load_tower(Tower(), {"state_dict": state}, [LAYOUT], "f") == 0
    del state["module.point.bn.num_batches_tracked"]  # old files have none, evaluation reads none
    assert load_tower(Tower(), {"state_dict": state}, [LAYOUT], "f") == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_are_cast(dtype):
    tower = Tower()
    state = {key: value.to(dtype) for key, value in published().items()}
    load_tower(tower, {"state_dict": state}, [LAYOUT], "f")
    assert tower.net.weight.dtype == torch.float32
    assert tower.norm.num_batches_tracked.dtype == torch.int64
    assert tower.net.weight.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("module.point.conv.bias", None, "file.pt: misses 'module.point.conv.bias'"),
        ("module.point.bn.running_var", None, "misses 'module.point.bn.running_var'"),
        ("module.point.more", torch.ones(1), "unexpected 'module.point.more'"),
        ("module.point.conv.bias", torch.ones(3), r"'module.point.conv.bias' is \[3\], expected \[2\]"),
        ("module.point.conv.weight", torch.ones(3, 2), r"'module.point.conv.weight' is \[3, 2\], expected"),
        ("module.point.conv.bias", torch.ones(2).to_sparse(), "'module.point.conv.bias' is sparse"),
        ("module.point.conv.bias", torch.ones(2, device="meta"), "'module.point.conv.bias' is .*empty"),
        (
            "module.point.conv.bias",
            torch.ones(2, dtype=torch.complex64),
            "'module.point.conv.bias' is .*complex",
        ),
        (
            "module.point.conv.bias",
            torch.tensor([1, torch.nan]),
            "file.pt: 'module.point.conv.bias' holds NaN",
        ),
        (
            "module.point.bn.running_mean",
            torch.tensor([1e300, 1]).double(),
            "running_mean' holds NaN or infinity",
        ),
        ("module.point.conv.bias", [1.0, 2.0], "misses 'module.point.conv.bias'"),
    ],
)
def test_what_does_not_fit_is_named(key, value, what):
    state = published()
    if value is None:
        del state[key]
    else:
        state[key] = value
    tower = Tower()
    with pytest.raises(RunError, match=what):
        load_tower(tower, {"state_dict": state}, [LAYOUT], "file.pt")
    assert tower.scale.tolist() == [0, 0]  # nothing was loaded


@pytest.mark.parametrize(
    "content", [{}, [], torch.ones(2), {"state_dict": 7}, {3: torch.ones(1)}, {"state_dict": {"a": "b"}}]
)
def test_files_of_something_else(content):
    with pytest.raises(RunError, match=r"f.pt: holds no such point encoder, .*state_dict.point\."):
        load_tower(Tower(), content, [LAYOUT], "f.pt")


def test_the_layout_that_fits_best_is_taken():
    """One key that looks like another layout's does not decide."""
    other = Layout((), ("",), ("visual.",), {"": "visual."})
    assert (
        load_tower(Tower(), {"state_dict": published(""), "visual.x": torch.ones(1)}, [other, LAYOUT], "f")
        == 3
    )


def test_command_lines_are_let_through_and_nothing_else(tmp_path):
    path = tmp_path / "file.pt"
    values = {"args": argparse.Namespace(lr=0.1, nested=argparse.Namespace(a=[1])), "epoch": 3, "best": None}
    torch.save(values | {"more": collections.OrderedDict(a=torch.ones(2))}, path)
    loaded = read_checkpoint(path)
    assert loaded["args"].nested.a == [1]
    torch.save({"state_dict": published(), "args": fractions.Fraction(1, 2)}, path)
    with pytest.raises(RunError, match=r"file.pt: not a readable weights file .*fractions.Fraction") as error:
        read_checkpoint(path)
    assert "weights_only" not in str(error.value)  # torch's advice: to run it all the same
    torch.save({"args": argparse.Namespace(value=fractions.Fraction(1, 2))}, path)
    with pytest.raises(RunError, match="not a readable"):
        read_checkpoint(path)


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_is_run(tmp_path, zipped):
    trap = tmp_path / "trap"
    torch.save(
        {"state_dict": published(), "args": argparse.Namespace(trap=Trap(trap))},
        tmp_path / "file.pt",
        _use_new_zipfile_serialization=zipped,
    )
    with pytest.raises(RunError, match="never loaded"):
        read_checkpoint(tmp_path / "file.pt")
    assert not trap.exists()


@pytest.mark.filterwarnings("error")
def test_a_foreign_pickle(shared):
    with pytest.raises(RunError, match="not a readable weights file") as error:
        read_checkpoint(shared / "data/hostile/codes/pickle_checkpoint.pt")
    assert "\n" not in str(error.value)


def test_damaged_files(tmp_path):
    path = tmp_path / "file.pt"
    with pytest.raises(RunError, match=r"file\.pt"):
        read_checkpoint(path)
    torch.save({"state_dict": published()}, path)
    whole = path.read_bytes()
    for data in (b"", b"garbage", whole[: len(whole) // 2]):
        path.write_bytes(data)
        with pytest.raises(RunError, match=r"file\.pt"):
            read_checkpoint(path)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (torch.ones(2).to_sparse(), "'bias' is sparse"),
        (torch.ones(2, device="meta"), "'bias' is .*empty"),
        (torch.tensor([0, torch.inf]), "'bias' holds NaN or infinity"),
    ],
)
def test_strict_loading_refuses_what_are_no_numbers(value, what):
    net = nn.Linear(3, 2)
    with pytest.raises(RunError, match=f"f.pt: {what}"):
        load_strictly(net, {**net.state_dict(), "bias": value}, "f.pt")
    assert net.bias.isfinite().all()


def test_infinity_may_stand_where_the_model_has_it_too():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mask", torch.tensor([0, -torch.inf]))

    load_strictly(Masked(), {"mask": torch.tensor([0, -torch.inf])}, "f.pt")


@pytest.mark.parametrize("content", [{3: torch.ones(1)}, {"state_dict": {3: torch.ones(1)}}, [], {"a": 1}])
def test_weights_are_tensors_with_names(tmp_path, content):
    torch.save(content, tmp_path / "file.pt")
    with pytest.raises(RunError, match=r"file\.pt: expected a state dict of tensors"):
        read_weights(tmp_path / "file.pt")


def test_safetensors(tmp_path):
    save_file(published(), tmp_path / "file.safetensors")
    assert load_tower(Tower(), read_checkpoint(tmp_path / "file.safetensors"), [LAYOUT], "f") == 3


def test_stand_ins_are_files_as_published(shared, tmp_path):
    """The container, the command line and the optimizer of ULIP's files are there, and are read."""
    official = Official(shared, "ulip1_pointbert")
    loaded = read_checkpoint(official.save(tmp_path / "file.pt", official.weights(every=True, filled=False)))
    assert set(loaded) == {"state_dict", "epoch", "optimizer", "scaler", "best_acc1", "args"}
    assert isinstance(loaded["args"], argparse.Namespace)
    assert len(loaded["state_dict"]) == 462


def test_an_empty_file_is_called_so(tmp_path):
    (tmp_path / "a.pt").write_bytes(b"")
    with pytest.raises(
        RunError, match=r"a\.pt: not a readable weights file \(it is empty, or ends too soon\)$"
    ):
        read_checkpoint(tmp_path / "a.pt")


def test_weights_must_fit(tmp_path):
    net = torch.nn.Linear(2, 3)
    good = {key: value.half() for key, value in net.state_dict().items()}
    load_strictly(net, good, "f")
    for bad, what in (
        ({"weight": good["weight"]}, "misses 'bias'"),
        ({**good, "extra": good["bias"]}, "unexpected 'extra'"),
        ({**good, "bias": torch.zeros(4)}, "another shape for 'bias'"),
    ):
        with pytest.raises(RunError, match=what):
            load_strictly(net, bad, "f")


def test_unreadable_weights(tmp_path):
    (tmp_path / "garbage.pt").write_bytes(b"\x80\x04nonsense")
    (tmp_path / "garbage.safetensors").write_bytes(b"\xff" * 40)
    for name in ("garbage.pt", "garbage.safetensors", "missing.pt"):
        with pytest.raises(RunError, match=name):
            read_weights(tmp_path / name)


def test_pickles_are_never_run(shared, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="pickle_checkpoint"):
        read_weights(shared / "data/hostile/codes/pickle_checkpoint.pt")
    assert not list(tmp_path.glob("cmah_pickle*"))
