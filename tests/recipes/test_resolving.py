"""From what the user gives to a whole configuration: precedence, paths, faults."""

import pytest

from cmah.errors import ConfigError
from cmah.recipes.resolving import make_config, stored_config


def test_paths_of_weights_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "blob").write_bytes(b"")
    (tmp_path / "w.safetensors").symlink_to("blob")
    given = [
        "model.image_encoder=timm:x",
        "model.shape_encoder=pointnet",
        "model.image_weights=w.safetensors",
    ]
    config = make_config("prealigned", assignments=given)
    assert config.model.image_weights == str(tmp_path / "w.safetensors")  # not where the link leads
    tagged = make_config("prealigned", assignments=[*given[:2], "model.image_weights=download:tag"])
    assert tagged.model.image_weights == "download:tag"


def test_precedence_and_round_trip(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('preset = "tiny"\n[training]\nlr = 0.5\nepochs = 7\n[model]\nbits = [16, 32]\n')
    config = make_config("cmah", file=file, assignments=["training.lr=0.25"])
    assert (config.preset, config.training.lr, config.training.epochs) == ("tiny", 0.25, 7)
    assert config.model.bits == (16, 32)
    assert config.model.width == 128  # from the preset
    assert stored_config(config.to_dictionary(), "config.json") == config


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"recipe": "nonsense"}, "cmah"),
        ({"recipe": "cmah", "preset": "huge"}, "tiny"),
        ({"recipe": "cmah", "assignments": ["trainin.lr=1"]}, "trainin"),
        ({"recipe": "cmah", "assignments": ["training.learning_rate=1"]}, "nearest known one is training"),
        ({"recipe": "cmah", "assignments": ["model.bits=64,32"]}, "ascending"),
        ({"recipe": "cmah", "assignments": ["model.bits=0"]}, "4096"),
        ({"recipe": "cmah", "assignments": ["model.patch_size=15"]}, "multiple"),
        ({"recipe": "cmah", "assignments": ["model.image_mask=1"]}, "image_mask"),
        ({"recipe": "cmah", "assignments": ["model=3"]}, "model = '3': expected a table"),
        ({"recipe": "cmah", "overrides": {"training": []}}, "expected a table"),
        ({"recipe": "cmah", "assignments": ["model.heads=0"]}, "model.heads = 0: expected at least 1"),
        ({"recipe": "cmah", "assignments": ["model.head=foo"]}, "model.head = 'foo'"),
        ({"recipe": "cmah", "assignments": ["model.image_weights=w.pt"]}, "without model.image_encoder"),
        ({"recipe": "cmah", "assignments": ["model.image_encoder=timm:resnet18"]}, "nothing is downloaded"),
        ({"recipe": "cmah", "file": "no/such.toml"}, "no such file"),
    ],
)
def test_bad_configurations(arguments, message):
    with pytest.raises(ConfigError, match=message):
        make_config(**arguments)


def test_malformed_toml(tmp_path):
    (tmp_path / "bad.toml").write_text("[training\nlr = 1")
    with pytest.raises(ConfigError, match=r"bad\.toml"):
        make_config("cmah", file=tmp_path / "bad.toml")
