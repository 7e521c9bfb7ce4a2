"""Where meshes lie: what dataset.json says of the folders, and the path of a file within them."""

from pathlib import Path

import pytest

from cmah.data.dataset import Dataset, Shape
from cmah.data.mesh_sources import mesh_folders, split_source

A, B = {"path": "/a", "prefix": ""}, {"path": "/a/b", "prefix": "b"}


@pytest.mark.parametrize(
    "prepared",
    [None, 3, [], {}, {"folders": 3}, {"folders": [3, {}, {"path": "/a"}, {"path": "a", "prefix": ""}]}],
)
def test_what_is_no_list_of_folders_names_none(prepared: object) -> None:
    assert mesh_folders(prepared) == []


def test_the_innermost_folder_and_whole_names_count() -> None:
    for order in ([A, B], [B, A]):
        assert split_source("/a/b/x.obj", order) == (B, "x.obj")
        assert split_source("/a/bb/x.obj", order) == (A, "bb/x.obj")
        assert split_source("/ab/x.obj", order) == (None, "/ab/x.obj")
        assert split_source("a/b/x.obj", order) == (None, "a/b/x.obj")
    assert split_source("/x.obj", [{"path": "/", "prefix": ""}])[1] == "x.obj"


def test_the_checksum_is_that_of_before_folders_were_recorded_and_wherever_they_lie(tmp_path: Path) -> None:
    """By it a run knows its data; a dataset of one folder that is prepared again is the same data."""

    def checksum(source: str, *folders: dict[str, str]) -> str:
        prepared = {"views": 3} | ({"folders": list(folders)} if folders else {})
        shapes = [
            Shape("x", "", "train", "points/x.npy", {"source": source}),
            Shape("y", "", "", "points/y.npy"),
        ]
        return Dataset(tmp_path, "d", 9, "y", 9, shapes, [], {"prepared": prepared, "more": 1}).checksum()

    before = checksum("chair/x.obj")
    assert checksum("/a/chair/x.obj", A) == before
    assert checksum("/elsewhere/chair/x.obj", A, {"path": "/elsewhere", "prefix": ""}) == before
    assert checksum("/a/chair/z.obj", A) != before
