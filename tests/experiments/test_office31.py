"""Office-31 as dataset folders: no file is copied, every image is used, and groups are of one class."""

from collections import Counter
from pathlib import Path

import pytest
from small_office31 import COLOURS, COUNTS, make_office31

from cmah.data.dataset import Dataset
from cmah.errors import DatasetError

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"


@pytest.fixture(autouse=True)
def _modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXPERIMENTS))


def test_a_folder_for_each_pair(tmp_path: Path) -> None:
    from office31 import PAIRS, short, write_office31

    folder, out = make_office31(tmp_path / "office"), tmp_path / "out"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.jpg")}
    write_office31(folder, out)
    assert {path.name for path in out.iterdir()} == {*PAIRS}
    assert [short(pair) for pair in PAIRS] == ["A→W", "D→W", "W→D", "A→D", "D→A", "W→A"]
    # tables alone are written
    assert {path.name for path in out.rglob("*") if path.is_file()} == {
        "dataset.json",
        "shapes.csv",
        "images.csv",
    }
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.jpg")} == before
    for pair in PAIRS:
        source, target = pair.split("-")
        dataset = Dataset.read(out / pair)
        assert not dataset.check_files()
        photos = [image for image in dataset.images if image.kind == "photo"]
        renders = [image for image in dataset.images if image.kind == "render"]
        for images, domain in ((photos, source), (renders, target)):
            used = sorted(dataset.file(image.path).resolve() for image in images)
            assert used == sorted(path.resolve() for path in (folder / domain).rglob("*.jpg"))
            assert all(image.category == dataset.file(image.path).parent.name for image in images)
        assert not any(image.shape_id for image in photos)
        assert (
            {shape.split for shape in dataset.shapes}
            == {image.split for image in dataset.images}
            == {"train"}
        )


@pytest.mark.parametrize(("domain", "sizes"), [("amazon", [4, 4, 1]), ("dslr", [4]), ("webcam", [4, 2])])
def test_groups_of_four(tmp_path: Path, domain: str, sizes: list[int]) -> None:
    from office31 import PAIRS, write_office31

    write_office31(make_office31(tmp_path / "office"), tmp_path / "out")
    dataset = Dataset.read(tmp_path / "out" / next(pair for pair in PAIRS if pair.endswith(f"-{domain}")))
    views = dataset.views()
    assert sum(sizes) == COUNTS[domain]
    for name in COLOURS:
        groups = [shape for shape in dataset.shapes if shape.category == name]
        assert [len(views[shape.shape_id]) for shape in groups] == sizes
        assert all(image.category == name for shape in groups for image in views[shape.shape_id])
    # in the order of their names, each once
    counts = Counter(image.path for images in views.values() for image in images)
    assert set(counts.values()) == {1}
    first = views["back_pack-000"]
    assert [Path(image.path).stem for image in first] == [f"frame_{i:04d}" for i in (1, 2, 3, 4)]


def test_what_is_no_office31_is_refused(tmp_path: Path) -> None:
    from office31 import write_office31

    with pytest.raises(DatasetError, match=r"amazon.images: expected folders of pictures"):
        write_office31(tmp_path / "none", tmp_path / "out")
    folder = make_office31(tmp_path / "office")
    (folder / "dslr" / "images" / "mug").rename(folder / "dslr" / "images" / "cup")
    with pytest.raises(DatasetError, match=r"amazon.images: no class 'cup'"):
        write_office31(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
