"""Foreign .npz and .npy files whose headers lie, and bombs: refused before anything is allocated."""

import io
import zipfile

import numpy as np
import pytest

from cmah.codes import read_codes
from cmah.errors import CodesError


def npz_with(path, **members):
    """An .npz whose members are the given bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return path


def npy_bytes(array):
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def lying_header(shape):
    header = repr({"descr": "|u1", "fortran_order": False, "shape": shape}).ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + b"abc"


def test_headers_that_lie(tmp_path):
    bits = npy_bytes(np.array(16))
    good = npy_bytes(np.zeros((3, 2), np.uint8))
    bad = {
        "promises": lying_header((10**12, 2)),
        "negative": lying_header((-3, 2)),
        "short": good[:-2],
        "long": good + b"x",
        "objects": npy_bytes(np.array([[None, 1]], dtype=object)),
        "text": b"hello",
    }
    for name, data in bad.items():
        path = npz_with(tmp_path / f"{name}.npz", packed=data, bits=bits)
        with pytest.raises(CodesError, match=f"{name}.npz: member 'packed' is unreadable"):
            read_codes(path)
        (tmp_path / f"{name}.npy").write_bytes(data)
        with pytest.raises(CodesError, match=rf"{name}\.npy: not a"):
            read_codes(tmp_path / f"{name}.npy")
    assert len(read_codes(npz_with(tmp_path / "good.npz", packed=good, bits=bits))) == 3


def test_zip_bomb_is_refused_before_it_unpacks(tmp_path):
    path = npz_with(tmp_path / "bomb.npz", packed=bytes(100 << 20), bits=npy_bytes(np.array(16)))
    assert path.stat().st_size < 1 << 20
    with pytest.raises(CodesError, match="would unpack to 104857600 bytes"):
        read_codes(path)


@pytest.mark.parametrize("descr", ["|V0", "<U0"])
def test_many_items_of_no_bytes_are_refused(tmp_path, descr):
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': ({1 << 40},), }}".ljust(117) + "\n"
    path = tmp_path / "bomb.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
    with pytest.raises(CodesError, match="of no bytes at all"):
        read_codes(path)


@pytest.mark.parametrize("shape", ["(True, 12)", "((3, 2)", "(3,"])
def test_broken_npy_headers(tmp_path, shape):
    header = f"{{'descr': '|i1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    path = tmp_path / "broken.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(64))
    with pytest.raises(CodesError, match=str(path)):
        read_codes(path)
