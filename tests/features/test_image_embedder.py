"""The disk cache of embeddings: what is read, what is computed anew, and that the bits are always the same."""

import hashlib
import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from cmah.cache import file_digest
from cmah.data.dataset import Dataset, Image
from cmah.data.framing import Framing
from cmah.data.images import fit_square, load_image
from cmah.errors import ConfigError, RunError
from cmah.features import image_embedder
from cmah.features.image_embedder import EmbeddingTable, ImageEmbedder
from cmah.features.shards import Shard
from cmah.files import digest
from cmah.models.pretrained.backbone_spec import BackboneSpec
from cmah.models.pretrained.image_towers import ImageBackbone


@pytest.fixture
def pictures(tmp_path):
    """(folder, rows) of 21 random pictures of different sizes; number 5 is broken and 9 is missing."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(21):
        size = rng.integers(16, 48, 2)
        Picture.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
        rows.append(Image(f"i{i}", "", "", "train", f"{i}.png", "render"))
    (tmp_path / "5.png").write_bytes(b"no picture")
    (tmp_path / "9.png").unlink()
    return tmp_path, rows


def folder(root, **options):
    """A dataset folder of nothing but pictures."""
    return Dataset(root, "pictures", 1, "y", 32, [], [], **options)


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(image_embedder, "SHARD", 8)


def counting(embedder):
    """Count the images that the encoder sees, padding aside, from now on."""
    seen = []
    original = embedder._embedded

    def embedded(dataset, images, begin, workers, bar):
        seen.append(len(images) - begin)
        return original(dataset, images, begin, workers, bar)

    embedder._embedded = embedded
    return seen


def make(tiny_clip, folder, **options):
    embedder = ImageEmbedder(*tiny_clip, cache=folder / "cache", **options)
    return embedder, counting(embedder)


def test_rows_equal_the_encoder(tiny_clip, pictures, small_shards):
    """One picture at a time through the encoder, without any batch, gives the same rows but for rounding."""
    root, rows = pictures
    embedder, _ = make(tiny_clip, root)
    table = embedder.embed(folder(root), rows)
    tower = ImageBackbone(BackboneSpec.parse(tiny_clip[0])).eval()
    tower.load(tiny_clip[1])
    assert table.kept == [i for i in range(21) if i not in (5, 9)]
    assert len(table) == 19
    assert [path for path, _ in table.skipped] == [str(root / "5.png"), str(root / "9.png")]
    assert "not a picture" in table.skipped[0][1]
    assert "no such file" in table.skipped[1][1]
    for number, position in enumerate(table.kept):
        pixels = fit_square(load_image(root / rows[position].path), 32).transpose(2, 0, 1)
        with torch.no_grad():
            wanted = tower(torch.from_numpy(pixels.copy())[None].float() / 255)[0].numpy()
        np.testing.assert_allclose(table.rows([number])[0], wanted, atol=1e-5)
    shuffled = np.random.default_rng(1).permutation(19)
    everything = table.rows(np.arange(19))
    assert everything.dtype == np.float32
    assert np.array_equal(table.rows(shuffled), everything[shuffled])
    assert table.rows([]).shape == (0, embedder.dim)
    for bad in ([19], [-1]):
        with pytest.raises(IndexError, match="of a table of 19"):
            table.rows(bad)


def test_the_second_time_is_read(tiny_clip, pictures, small_shards):
    root, rows = pictures
    first, seen = make(tiny_clip, root)
    wanted = first.embed(folder(root), rows)
    assert seen == [8, 8, 5]
    second, seen = make(tiny_clip, root)
    again = second.embed(folder(root), rows, label="images")
    assert seen == []
    assert (again.kept, again.skipped) == (wanted.kept, wanted.skipped)
    assert np.array_equal(again.rows(range(19)), wanted.rows(range(19)))
    # part of the list is another list; whole shards are found again
    assert len(second.embed(folder(root), rows[:16])) == 14
    assert seen == []


def test_bits_do_not_depend_on_the_company(tiny_clip, pictures, monkeypatch):
    root, rows = pictures
    one, _ = make(tiny_clip, root)
    whole = one.embed(folder(root), rows)
    wanted = whole.rows(range(19))
    monkeypatch.setattr(image_embedder, "SHARD", 3)
    other = ImageEmbedder(*tiny_clip, cache=root / "other")
    found = other.embed(folder(root), rows[::-1])
    order = [whole.kept.index(20 - position) for position in found.kept]
    assert np.array_equal(found.rows(range(19)), wanted[order])


def test_workers_change_nothing(tiny_clip, pictures):
    root, rows = pictures
    one, _ = make(tiny_clip, root)
    other = ImageEmbedder(*tiny_clip, cache=root / "other")
    found = other.embed(folder(root), rows, workers=1)
    assert found.skipped == one.embed(folder(root), rows).skipped
    assert np.array_equal(found.rows(range(19)), one.embed(folder(root), rows).rows(range(19)))


def test_changes_are_seen(tiny_clip, pictures, small_shards):
    root, rows = pictures
    embedder, seen = make(tiny_clip, root)
    before = embedder.embed(folder(root), rows)
    old = before.rows(range(19))
    seen.clear()
    Picture.new("RGB", (20, 20), "red").save(root / "10.png")  # another image: its shard only
    after = embedder.embed(folder(root), rows)
    assert seen == [8]
    assert before.key != after.key
    assert after.key == embedder.embed(folder(root), rows).key
    changed = (after.rows(range(19)) != old).any(axis=1)
    assert changed.nonzero()[0].tolist() == [before.kept.index(10)]
    seen.clear()
    Picture.new("RGB", (20, 20), "blue").save(root / "9.png")  # one that was missing
    assert embedder.embed(folder(root), rows).kept == [i for i in range(21) if i != 5]
    assert seen == [8]
    seen.clear()
    os.utime(root / "20.png", ns=(1, 1))  # only the time
    embedder.embed(folder(root), rows)
    assert seen == [5]


def test_keys_name_everything_that_counts(tiny_clip, tmp_path):
    encoder, weights = tiny_clip
    state = torch.load(weights, weights_only=True)["state_dict"]
    state["visual.proj"] = state["visual.proj"] + 1
    torch.save(state, tmp_path / "other.pt")
    larger = ImageBackbone(BackboneSpec.parse(encoder), 48)
    larger.load(weights)
    made = [
        ImageEmbedder(encoder, weights, cache=tmp_path),
        ImageEmbedder(encoder, str(tmp_path / "other.pt"), cache=tmp_path),
        ImageEmbedder(f"{encoder}?mean=0.5", weights, cache=tmp_path),
        ImageEmbedder(encoder, weights, cache=tmp_path, framing=Framing(background="remove")),
        ImageEmbedder(encoder, weights, cache=tmp_path, backbone=larger),
        ImageEmbedder(encoder, weights, cache=tmp_path, framing=Framing("box")),
        ImageEmbedder(encoder, weights, cache=tmp_path, framing=Framing("box", 0.2)),
        ImageEmbedder(encoder, weights, cache=tmp_path, framing=Framing("mask")),
    ]
    assert len({embedder.key for embedder in made}) == len(made)
    assert [embedder.size for embedder in made] == [32, 32, 32, 32, 48, 32, 32, 32]
    # the key and the name of a shard that an earlier version wrote: found, and not computed again
    parts = [encoder, file_digest(weights), made[0].backbone.preprocessing, "keep", "1"]
    assert made[0].key == hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    Picture.new("RGB", (32, 32)).save(tmp_path / "a.png")
    state = os.stat(tmp_path / "a.png")
    states = [str(tmp_path.resolve()), ["a.png", state.st_size, state.st_mtime_ns]]
    made[0].embed(
        folder(tmp_path), [Image("a", "", "", "", "a.png", "photo", mask="a.png", bbox=(1, 1, 2, 2))]
    )
    assert [path.stem for path in made[0].folder.glob("*.npy")] == [f"images-{digest(states)}"]
    assert ImageEmbedder(encoder, weights, cache=tmp_path / "elsewhere").key == made[0].key


def test_a_killed_job_goes_on(tiny_clip, pictures, small_shards, monkeypatch):
    root, rows = pictures
    wanted = ImageEmbedder(*tiny_clip, cache=root / "whole").embed(folder(root), rows).rows(range(19))
    embedder, seen = make(tiny_clip, root)
    # dies in the third shard; and one that died between a shard and its record
    original = embedder._embedded

    def embedded(dataset, images, begin, workers, bar):
        if len(seen) == 2:
            raise KeyboardInterrupt
        return original(dataset, images, begin, workers, bar)

    embedder._embedded = embedded
    with pytest.raises(KeyboardInterrupt):
        embedder.embed(folder(root), rows)
    assert not list(embedder.folder.glob(".*"))
    records = sorted(embedder.folder.glob("*.json"), key=os.path.getmtime)
    assert len(records) == 2
    records[0].unlink()
    later, seen = make(tiny_clip, root)
    assert np.array_equal(later.embed(folder(root), rows).rows(range(19)), wanted)
    assert seen == [8, 5]


def damage_flip(path, _):
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def damage_short(path, _):
    path.write_bytes(path.read_bytes()[:-4])


def damage_foreign(path, _):
    np.save(path, np.zeros((3, 3)))


def damage_empty(path, _):
    path.write_bytes(b"")


def damage_record(_, facts):
    facts.write_text("[]")


def damage_rows(_, facts):
    stored = json.loads(facts.read_text())
    stored["skipped"] = [[0, "x"]]
    facts.write_text(json.dumps(stored))


def damage_positions(_, facts):
    stored = json.loads(facts.read_text())
    stored["skipped"] = [[5, "x"], [99, "y"]]
    facts.write_text(json.dumps(stored))


@pytest.mark.parametrize(
    "damage",
    [damage_flip, damage_short, damage_foreign, damage_empty, damage_record, damage_rows, damage_positions],
)
def test_damaged_shards_are_computed_again(damage, tiny_clip, pictures):
    root, rows = pictures
    embedder, seen = make(tiny_clip, root)
    wanted = embedder.embed(folder(root), rows).rows(range(19))
    (path,) = embedder.folder.glob("*.npy")
    damage(path, path.with_suffix(".json"))
    seen.clear()
    assert np.array_equal(embedder.embed(folder(root), rows).rows(range(19)), wanted)
    assert seen == [21]
    embedder.embed(folder(root), rows)
    assert seen == [21]


def test_backgrounds_are_painted_black(tiny_clip, tmp_path):
    """By the mask, by the picture's own opacity, or not at all; a mask of another size costs its picture only."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(1, 256, (32, 32, 3), dtype=np.uint8)
    mask = np.zeros((32, 32), np.uint8)
    mask[8:20, 4:30] = 255
    mask[0, 0] = 1  # hardly object, but not 0
    black = pixels.copy()
    black[mask == 0] = 0
    Picture.fromarray(pixels).save(tmp_path / "masked.png")
    Picture.fromarray(mask).save(tmp_path / "mask.png")
    Picture.fromarray(np.dstack([pixels, np.where(mask == 0, 0, 255).astype(np.uint8)])).save(
        tmp_path / "clear.png"
    )
    Picture.fromarray(black).save(tmp_path / "black.png")
    Picture.new("L", (5, 5)).save(tmp_path / "small.png")

    def row(name, mask=""):
        return Image(name, "", "", "", name, "photo", mask=mask)

    rows = [
        row("masked.png", "mask.png"),
        row("clear.png"),
        row("black.png"),
        row("masked.png"),
        row("masked.png", "small.png"),
    ]
    embedder, seen = make(tiny_clip, tmp_path, framing=Framing(background="remove"))
    table = embedder.embed(folder(tmp_path), rows)
    found = table.rows(range(4))
    assert table.kept == [0, 1, 2, 3]
    assert "the mask is 5 x 5 pixels, its picture 32 x 32" in table.skipped[0][1]
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])
    assert not np.array_equal(found[0], found[3])
    kept, _ = make(tiny_clip, tmp_path)
    assert np.array_equal(kept.embed(folder(tmp_path), rows).rows([0]), found[[3]])
    os.utime(tmp_path / "mask.png", ns=(1, 1))
    seen.clear()
    embedder.embed(folder(tmp_path), rows)
    assert seen == [5]


def test_a_box_is_part_of_what_is_embedded(tiny_clip, pictures):
    root, rows = pictures
    boxed = [replace(row, bbox=(1, 2, 9, 8)) for row in rows[:4]]
    embedder, seen = make(tiny_clip, root, framing=Framing("box", 0))
    first = embedder.embed(folder(root), boxed).rows(range(4))
    for row, found in zip(boxed, first, strict=True):
        cut = load_image(root / row.path)[2:10, 1:10]
        Picture.fromarray(cut).save(root / f"cut-{row.image_id}.png")
        alone = embedder.embed(folder(root), [Image("cut", "", "", "", f"cut-{row.image_id}.png", "photo")])
        assert np.array_equal(alone.rows([0])[0], found)
    seen.clear()
    embedder.embed(folder(root), boxed)
    assert seen == []
    moved = [boxed[0], replace(boxed[1], bbox=(0, 2, 9, 8)), *boxed[2:]]
    again = embedder.embed(folder(root), moved).rows(range(4))
    assert (again != first).any(axis=1).tolist() == [False, True, False, False]
    assert seen == [4]
    outside = embedder.embed(folder(root), [replace(rows[0], bbox=(0, 0, 99, 99))])
    assert "bbox 0,0,99,99 leaves the picture of" in outside.skipped[0][1]


def test_files_may_lie_elsewhere(tiny_clip, pictures, tmp_path_factory):
    """The same files by another folder are the same shard."""
    root, rows = pictures
    embedder, seen = make(tiny_clip, root)
    wanted = embedder.embed(folder(root), rows)
    tables = folder(tmp_path_factory.mktemp("tables"), file_root=str(root))
    seen.clear()
    found = embedder.embed(tables, rows)
    assert (seen, found.key, found.skipped) == ([], wanted.key, wanted.skipped)


def test_texts(tiny_clip, tmp_path, monkeypatch):
    from cmah.models.pretrained.text_towers import TextEncoder

    texts = [f"a chair with {i} legs" for i in range(11)] + ["a chair with 0 legs"]
    monkeypatch.setattr(image_embedder, "SHARD", 5)
    wanted = TextEncoder(*tiny_clip).encode(texts)
    embedder, _ = make(tiny_clip, tmp_path)
    found = embedder.embed_texts(texts)
    assert np.array_equal(found, wanted)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert np.array_equal(embedder.embed_texts(texts[::-1]), wanted[::-1])
    # the second time without the encoder
    monkeypatch.setattr(TextEncoder, "encode", None)
    later, _ = make(tiny_clip, tmp_path)
    assert np.array_equal(later.embed_texts(texts), wanted)
    assert later.embed_texts([]).shape == (0, embedder.dim)


def test_what_is_refused(tiny_clip, pictures, tmp_path_factory):
    root, rows = pictures
    with pytest.raises(ConfigError, match="need its weights"):
        ImageEmbedder(tiny_clip[0], "")
    with pytest.raises(RunError, match=r"nothing\.pt: no such file"):
        ImageEmbedder(tiny_clip[0], str(root / "nothing.pt"))
    torch.save(ImageBackbone(BackboneSpec.parse("timm:test_vit")).net.state_dict(), root / "vit.pt")
    timm = ImageEmbedder("timm:test_vit", str(root / "vit.pt"), cache=root / "cache")
    with pytest.raises(ConfigError, match="no text tower"):
        timm.embed_texts(["a chair"])
    state = torch.load(tiny_clip[1], weights_only=True)["state_dict"]
    torch.save({k: v * float("nan") for k, v in state.items()}, root / "nan.pt")
    with pytest.raises(RunError, match="holds NaN or infinity"):
        ImageEmbedder(tiny_clip[0], str(root / "nan.pt"), cache=root / "cache").embed(folder(root), rows)


def test_a_cache_that_cannot_be_written_is_done_without(
    tiny_clip, pictures, small_shards, capsys, monkeypatch
):
    root, rows = pictures
    wanted = make(tiny_clip, root)[0].embed(folder(root), rows)
    (root / "file").write_text("")
    monkeypatch.setattr("cmah.cache._told", set())
    embedder, seen = make(tiny_clip, root / "file")
    table = embedder.embed(folder(root), rows)
    assert (table.kept, table.skipped, seen) == (wanted.kept, wanted.skipped, [8, 8, 5])
    assert np.array_equal(table.rows(range(19)), wanted.rows(range(19)))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{embedder.folder}/images-")
    assert "not kept for the next time (the environment variable CMAH_CACHE chooses another" in line
    assert embedder.embed_texts([]).shape == (0, 32)


def test_what_a_stopped_job_has_computed_of_a_shard_is_kept(tiny_clip, pictures, monkeypatch):
    root, rows = pictures
    wanted = ImageEmbedder(*tiny_clip, cache=root / "whole").embed(folder(root), rows)
    monkeypatch.setattr(image_embedder, "BATCH", 4)
    embedder, _ = make(tiny_clip, root)
    run_tower, calls = embedder.backbone.forward, []

    def forward(x):
        calls.append(len(x))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return run_tower(x)

    embedder.backbone.forward = forward
    with pytest.raises(KeyboardInterrupt):
        embedder.embed(folder(root), rows)
    assert [path.name[-9:] for path in embedder.folder.iterdir()] == [".part.npz"]
    later, seen = make(tiny_clip, root)
    table = later.embed(folder(root), rows)
    assert seen == [21 - 12]  # three batches of four were whole
    assert (table.kept, table.skipped) == (wanted.kept, wanted.skipped)
    assert np.array_equal(table.rows(range(19)), wanted.rows(range(19)))
    assert sorted(path.suffix for path in later.folder.iterdir()) == [".json", ".npy"]


def test_nothing_to_embed(tiny_clip, tmp_path):
    table = make(tiny_clip, tmp_path)[0].embed(folder(tmp_path), [])
    assert (len(table), table.rows([]).shape) == (0, (0, 32))


def test_few_shards_stay_open(tmp_path, monkeypatch):
    monkeypatch.setattr(image_embedder, "OPEN", 2)
    rows = np.arange(24, dtype=np.float32).reshape(12, 2)
    for i in range(4):
        np.save(tmp_path / f"{i}.npy", rows[3 * i : 3 * i + 3])
    shards = [Shard(tmp_path / f"{i}.npy", None, 3, []) for i in range(4)]
    table = EmbeddingTable(2, shards, list(range(12)), [])
    order = np.random.default_rng(0).permutation(12)
    assert np.array_equal(table.rows(order), rows[order])
    assert len(table._open) == 2
