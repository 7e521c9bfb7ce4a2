"""cmah info, as a user calls it; no torch."""

import json

import pytest


def test_info(call, files, dataset):
    call("index", files / "shape.npz", files / "s.cmah")
    run = files / "run"
    run.mkdir()
    (run / "config.json").write_text(
        json.dumps({"format": "cmah-run", "version": 1, "recipe": "cmah", "model": {"width": 8}})
    )
    lines = [{"epoch": n, "loss": 1.0, "validation": {"score": 1 / n}} for n in (1, 2)]
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"epoch": 3, "vali')
    found = {}
    for path in (files / "image.npz", files / "s.cmah", dataset, run):
        status, out, _ = call("info", path, "--json")
        assert status == 0
        found[path.name] = json.loads(out)
        status, text, _ = call("info", path)
        assert status == 0
        assert text.startswith("what")
    assert found["image.npz"]["kinds"] == {"render": 12, "photo": 3}
    assert found["image.npz"]["lengths that are codes"] == [16, 40]
    assert found["s.cmah"]["codes"] == 6
    assert (found["data"]["shapes"], found["data"]["images without a shape"]) == (6, 1)
    assert (found["run"]["epochs done"], found["run"]["best"]["epoch"]) == (2, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("info", "/dev/null"), "/dev/null: not a file"),
        (("info", "nothing"), "nothing: no such file"),
        (("info", "."), "neither a dataset"),
    ],
)
def test_mistakes_end_with_one_line(call, files, monkeypatch, arguments, message):
    monkeypatch.chdir(files)
    call("index", "shape.npz", "s.cmah")
    status, _, err = call(*arguments)
    assert status == 2
    assert message in err.splitlines()[-1]
    assert "Traceback" not in err
