"""cmah encoders: every encoder in the table, all of one on its page, and no torch for either."""

import json
import re
import shlex
import subprocess
import sys
from dataclasses import asdict

import pytest

from cmah.cli.train import train
from cmah.models.pretrained.encoder_table import ENCODERS, find


def test_table(call):
    status, out, err = call("encoders")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[1].split()[:2] == ["name", "parameters"]
    rows = lines[2 : 2 + len(ENCODERS)]
    assert [row.split()[0] for row in rows] == [entry.name for entry in ENCODERS]
    assert re.search(
        r"^uni3d_b +87\.0 M +1024 +10,000 +yes +open_clip:EVA02-E-14-plus +hf\.co/BAAI/Uni3D$",
        out,
        re.M,
    )
    assert max(map(len, lines)) <= 140
    for word in ("open_clip:NAME", "timm:NAME", "--image-weights", "download:TAG", "FILE"):
        assert word in out


def test_json(call):
    assert json.loads(call("encoders", "--json")[1]) == [asdict(entry) for entry in ENCODERS]
    assert json.loads(call("encoders", "ulip2", "--json")[1]) == asdict(find("ulip2"))


@pytest.mark.parametrize("entry", ENCODERS, ids=lambda entry: entry.name)
def test_page_ends_with_a_command_that_train_takes(call, entry):
    status, out, _ = call("encoders", entry.name)
    assert status == 0
    for text in (f"{entry.parameters:,}", str(entry.dim), entry.takes, entry.weights, entry.aligned_with):
        assert text in out
    words = shlex.split(out[out.index("cmah train") :].replace("\\\n", " "))
    given = train.make_context("train", words[2:]).params
    assert given["shape_encoder"] == entry.name
    assert (given["shape_weights"] is not None) == entry.published
    if entry.image_weights:
        assert (given["image_encoder"], given["image_weights"]) == (entry.aligned_with, entry.image_weights)
    else:
        assert given["image_encoder"].startswith("open_clip:")
        assert "training brings it" in out


def test_unknown_name(call):
    status, out, err = call("encoders", "uni3d_xl")
    assert (status, out) == (2, "")
    assert re.fullmatch(r"Error: shape encoder 'uni3d_xl': did you mean uni3d_\w\? expected one of .*\n", err)


def test_without_torch():
    code = """
import sys
from cmah.cli.main import main
try:
    main(["encoders"])
except SystemExit as done:
    sys.exit(done.code or 10 * ("torch" in sys.modules or "timm" in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "uni3d_g" in done.stdout
