"""The table of encoders says what the encoders are."""

import subprocess
import sys

import pytest
import torch

from cmah.errors import ConfigError
from cmah.models.pretrained import point_encoder, slip
from cmah.models.pretrained.encoder_table import ENCODERS, SAME, SLIP, find
from cmah.models.pretrained.point_backbone import PointEncoder

NAMES = [entry.name for entry in ENCODERS]
SMALL = [entry.name for entry in ENCODERS if entry.parameters < 7e6]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_entry_is_the_encoder(name):
    entry = find(name)
    with torch.device("meta"):  # the largest would take 4 GB
        encoder = point_encoder(name)
    assert isinstance(encoder, PointEncoder)
    assert sum(value.numel() for value in encoder.parameters()) == entry.parameters
    assert (encoder.dim, encoder.points, encoder.colours) == (entry.dim, entry.points, entry.colours)
    assert encoder.layouts


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("name", SMALL)
def test_dim_is_what_comes_out(name):
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(1, 300, 6, generator=generator) - 0.5
    points[..., 3:] += 0.5
    encoder = point_encoder(name).eval()
    coloured, plain = encoder(points), encoder(points[..., :3])
    assert coloured.shape == plain.shape == (1, find(name).dim)
    assert torch.equal(coloured, plain) != find(name).colours


def test_names():
    assert len(set(NAMES)) == len(NAMES) == 21
    assert len(SMALL) == 5
    with pytest.raises(ConfigError, match=r"'uni3d_xl': did you mean uni3d_\w\? expected one of .*pointnet"):
        find("uni3d_xl")
    with pytest.raises(ConfigError, match="'': expected one of"):
        point_encoder("")


@pytest.mark.parametrize(
    "name", [entry.name for entry in ENCODERS if entry.aligned_with and entry.image_weights != SAME]
)
def test_image_encoders_are_known_to_open_clip(name):
    open_clip = pytest.importorskip("open_clip")
    entry = find(name)
    family, _, model = entry.aligned_with.partition(":")
    assert family == "open_clip"
    assert open_clip.get_model_config(model)["embed_dim"] == entry.dim
    assert entry.image_weights.removeprefix("download:") in open_clip.list_pretrained_tags_by_model(model)


def test_aligned_ones_are_published():
    for entry in ENCODERS:
        assert entry.published or not entry.aligned_with
        assert bool(entry.image_weights) == bool(entry.aligned_with)
        assert (entry.image_weights == SAME) == (entry.aligned_with == SLIP == f"slip:{slip.NAME}")
        assert entry.image_weights != SAME or entry.dim == slip.DIM


def test_reading_the_table_loads_nothing_heavy():
    code = (
        "import sys; import cmah.models.pretrained.encoder_table; "
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
