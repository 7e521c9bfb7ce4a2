"""cmah classify on a run of the recipe prealigned with a tiny CLIP model."""

import json

import pytest

from cmah.training.starting import train


@pytest.fixture(scope="module")
def aligned(toy, tiny_clip, tmp_path_factory):
    encoder, weights = tiny_clip
    settings = (
        f"model.image_encoder={encoder}", f"model.image_weights={weights}", "model.shape_encoder=pointnet",
        "model.points=32", "model.bits=16", "training.epochs=1", "training.batch_size=8", "training.workers=0",
        "training.warmup_epochs=0", "training.validation_views=1",
    )  # fmt: skip
    return train(
        toy, tmp_path_factory.mktemp("aligned") / "run", recipe="prealigned", settings=settings, device="cpu"
    )


def test_the_table(call, aligned, toy):
    status, out, err = call("classify", aligned, toy, "--split", "val", "--device", "cpu")
    assert status == 0, err
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == ["flat", "tall", "all", "mean", "2"]
    assert "prompt: a point cloud model of a {}" in lines[-1]


def test_json_says_the_same(call, aligned, toy):
    arguments = (
        "classify",
        aligned,
        toy,
        "--split",
        "val",
        "--device",
        "cpu",
        "--prompt",
        "a {}",
        "--prompt",
        "two {}",
    )
    _, text, _ = call(*arguments)
    status, out, _ = call(*arguments, "--json")
    report = json.loads(out)
    assert status == 0
    assert report["prompts"] == ["a {}", "two {}"]
    assert f"all {report['n']}: top-1 {report['top1']:.3f}, top-5 {report['top5']:.3f}" in text
    assert f"categories: top-1 {report['mean_top1']:.3f}, top-5 {report['mean_top5']:.3f}" in text
    assert report["top5"] == 1  # of two candidates


def test_images(call, aligned, toy):
    asked = (
        "--split",
        "all",
        "--modality",
        "image",
        "--kind",
        "render",
        "--workers",
        0,
        "--device",
        "cpu",
        "--json",
    )
    status, out, _ = call("classify", aligned, toy, *asked)
    report = json.loads(out)
    assert (status, report["n"], report["modality"], report["kind"]) == (0, 48, "image", "render")


def test_faults_are_one_line(call, aligned, toy, toy_run, tmp_path):
    for arguments, message in (
        ((toy_run, toy, "--split", "val"), "not in the space of an image encoder"),
        ((aligned, toy), "no shape or image of split 'test'"),
        ((aligned, toy, "--split", "val", "--prompt", "chair"), "expected {} where"),
        ((aligned, toy, "--split", "val", "--names", tmp_path / "no.json"), "no.json: no such file"),
        ((tmp_path / "none", toy, "--split", "val"), "no such run folder"),
        ((aligned, toy, "--split", "val", "--modality", "sound"), "'sound' is not one of"),
    ):
        status, out, err = call("classify", *arguments, "--device", "cpu")
        assert (status, out) == (2, "")
        assert message in err
        assert "Traceback" not in err
