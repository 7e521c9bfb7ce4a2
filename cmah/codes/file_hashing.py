"""Files of embeddings to files of codes, by a post-hoc hash that is fitted on them or was fitted before."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cmah.checks import as_int
from cmah.codes import code_files, posthoc
from cmah.codes.binary_codes import BinaryCodes, Embeddings
from cmah.codes.npz import read_npy
from cmah.codes.posthoc import HashMethod, PostHocHash, Sharing, fit_hash
from cmah.codes.real_codes import real_file_of
from cmah.errors import CmahError, CodesError
from cmah.files import atomic_paths
from cmah.reading import require_file


def hash_files(
    files: Sequence[str | Path],
    out: str | Path,
    bits: int = 64,
    method: HashMethod = "itq",
    *,
    sharing: Sharing = "projection",
    seed: int = 0,
    fitted: str | Path | None = None,
    real: bool = False,
) -> tuple[PostHocHash, dict[Path, BinaryCodes]]:
    """Hash files of embeddings and write a code file for each, named alike, and the hash.

    Args:
        files: embedding files (.npz) or matrices of floats [n, d] (.npy), one for each modality. A file's modality is
            the one it names; a matrix is of the modality "image" or "shape" if it is named image.npy or shape.npy.
        out: folder for the code files and hash.npz.
        bits: length of the codes, as in `fit_hash`.
        method: as in `fit_hash`.
        sharing: as in `fit_hash`.
        seed: seed of the random numbers of the fit.
        fitted: hash.npz of an earlier call, which is applied instead of fitting one; the four arguments before are
            ignored and no hash is written. A file is encoded as the set of its modality; where a modality is unknown,
            the files must be as many as the hash was fitted on, in the same order.
        real: write the real-valued codes of each file too, whose signs are its codes, as NAME_real.npz.

    Returns:
        The hash, and for each code file its path and codes, in order of `files`.

    Raises:
        CmahError: if a file cannot be used, files have equal names, or a file of another kind would be replaced.

    Examples:
        >>> import numpy as np
        >>> from cmah import HammingIndex
        >>> rows = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
        >>> np.save("image.npy", rows)
        >>> np.save("shape.npy", 3 * rows)  # only directions count
        >>> _, written = hash_files(["image.npy", "shape.npy"], "codes", bits=2)
        >>> [path.name for path in written]
        ['image.npz', 'shape.npz']
        >>> HammingIndex.distances(*written.values())[0].tolist()  # itself, its neighbours, the opposite
        [0, 1, 2, 1]
    """
    paths, out = [Path(file) for file in files], Path(out)
    targets = [out / f"{path.stem}.npz" for path in paths]
    check_names(paths)
    for target in targets:
        code_files.refuse_to_replace(target, paths)
    beside = [real_file_of(target) for target in targets] if real else []
    for target in beside:
        code_files.refuse_to_replace(target, paths, embeddings=True)
        if target in targets:
            raise CmahError(f"{target}: would hold the codes of a file and the real-valued codes of another")
    if fitted is None:
        posthoc.refuse_to_replace(out / "hash.npz", paths)
    sets = [read_embeddings(path) for path in paths]
    if fitted is not None:
        chosen = PostHocHash.load(fitted)
        places = _places(chosen, sets, paths, Path(fitted))
    else:
        chosen = fit_hash(sets, as_int(bits, "bits"), method, sharing=sharing, seed=seed)
        places = list(range(len(sets)))
    written: dict[Path, BinaryCodes] = {}
    numbers: list[Embeddings] = []
    for path, target, embeddings, place in zip(paths, targets, sets, places, strict=True):
        with code_files.named(path):
            written[target] = chosen.encode(embeddings, place)
            if real:
                numbers.append(chosen.encode_real(embeddings, place))
    hashes = [out / "hash.npz"] if fitted is None else []
    with atomic_paths([*targets, *beside, *hashes]) as temporary:
        for part, codes in zip(temporary, written.values(), strict=False):
            codes.save(part)
        for part, rows in zip(temporary[len(targets) :], numbers, strict=False):
            rows.save(part)
        if fitted is None:
            chosen.save(temporary[-1])
    return chosen, written


def check_names(files: Sequence[str | Path]) -> None:
    """Refuse files whose code files would be written over each other.

    Raises:
        CmahError: if two files have one name, or one is called hash.

    Examples:
        >>> check_names(["a/image.npz", "a/shape.npz"])
        >>> check_names(["a/image.npz", "b/image.npy"])
        Traceback (most recent call last):
            ...
        cmah.errors.CmahError: the files need names of their own, other than hash: ...
    """
    if len({*(Path(file).stem for file in files), "hash"}) <= len(files):
        raise CmahError("the files need names of their own, other than hash: code files are named after them")


def read_embeddings(path: str | Path) -> Embeddings:
    """Read an embedding file, or a matrix of floats (.npy).

    A file that does not say its modality has its name for one, if that is image or shape.

    Raises:
        CodesError: if the file is neither.

    Examples:
        >>> import numpy as np
        >>> np.save("image.npy", np.array([[0.5, 2.0]]))
        >>> rows = read_embeddings("image.npy")
        >>> rows.embeddings.tolist(), rows.modality
        ([[0.5, 2.0]], 'image')
    """
    path = Path(path)
    require_file(path, "expected embeddings, .npz or .npy", CodesError)
    by_name = path.stem if path.stem in ("image", "shape") else ""
    if path.suffix != ".npy":
        stored = Embeddings.load(path)
        return stored if stored.modality else replace(stored, modality=by_name)
    with code_files.named(path):
        return Embeddings(read_npy(path), modality=by_name)


def _places(
    chosen: PostHocHash, sets: Sequence[Embeddings], files: Sequence[Path], fitted: Path
) -> list[int]:
    """The number of the fitted set that each file belongs to: by modality, or by order if one is unknown."""
    modalities = chosen.modalities.tolist()
    if all(embeddings.modality and embeddings.modality in modalities for embeddings in sets):
        return [modalities.index(embeddings.modality) for embeddings in sets]
    if len(files) != chosen.sets:
        raise CodesError(
            f"{fitted}: was fitted on {chosen.sets} files, got {len(files)}; give them in that order"
        )
    for path, embeddings, modality in zip(files, sets, modalities, strict=True):
        if embeddings.modality and modality and embeddings.modality != modality:
            raise CodesError(
                f"{path}: of modality {embeddings.modality!r}, expected {modality!r} at its place"
            )
    return list(range(len(files)))
