"""Which files beside meshes count."""

from cmah.runs.beside_meshes import beside_meshes
from cmah.runs.query_files import query_files


def test_what_meshes_may_name_and_nothing_else(tmp_path):
    taken = ["a/models/a.MTL", "a/models/a.bin", "a/models/Textures/t.TGA", "a/images/t.jpg", "a/up.mtl"]
    other = ["a/models/hits.json", "a/models/out.html", "a/more/t.png", "photos/b.png", "photos/beside.png"]
    for name in [*taken, *other, "a/models/a.obj", "a/models/b.glb"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    files, _, _ = query_files(
        [tmp_path / "a/models/a.obj", tmp_path / "a/models/b.glb", tmp_path / "photos/b.png"]
    )
    beside = [path.relative_to(tmp_path.resolve()).as_posix() for path in beside_meshes(files)]
    assert sorted(beside) == sorted(taken)
    assert beside_meshes(query_files([tmp_path / "photos"])[0]) == []
    assert beside_meshes(query_files([tmp_path / "gone/x.obj"])[0]) == []
