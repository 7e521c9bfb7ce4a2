"""The elements of a PLY file as arrays: text or binary, any elements, properties and lists, in any order."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cmah.errors import CmahError
from cmah.meshes.mesh_text import TextLines, grouped, numbers, plain_text, runs
from cmah.meshes.ply_header import Element, read_header


@dataclass
class PlyContent:
    r"""What a PLY file holds.

    Attributes:
        elements: its elements by name.
        comments: the text of its comments and obj_info lines.
        left_over: whether anything follows the last element.

    Examples:
        >>> content = read_elements(Path("a.ply"), b"ply\nformat ascii 1.0\ncomment empty\nend_header\n7\n")
        >>> content
        PlyContent(elements={}, comments=['empty'], left_over=True)
    """

    elements: dict[str, Element]
    comments: list[str]
    left_over: bool


def read_elements(path: Path, data: bytes) -> PlyContent:
    r"""Read all elements of a PLY file.

    The counts of the header are checked against what is there before anything is allocated.

    Raises:
        CmahError: if it is not a PLY file, or its content is not what its header says.

    Examples:
        >>> header = "ply\nformat ascii 1.0\nelement face 2\nproperty list uchar int vertex_indices\nend_header\n"
        >>> face = read_elements(Path("a.ply"), (header + "3 0 1 2\n4 0 1 2 3\n").encode()).elements["face"]
        >>> [values.tolist() for values in face.lists["vertex_indices"]]
        [[3, 4], [0.0, 1.0, 2.0, 0.0, 1.0, 2.0, 3.0]]
    """
    data = data.removeprefix(b"\xef\xbb\xbf")
    order, elements, comments, start = read_header(path, data)
    source: _Binary | _Text = _Binary(path, data, start) if order else _Text(path, data, start)
    for element in elements:
        if element.count:
            source.read(element)
        else:
            element.columns = {
                prop.name: np.zeros(0) for prop in element.properties if prop.count_dtype is None
            }
            nothing = np.zeros(0, np.int64)
            element.lists = {prop.name: (nothing, nothing) for prop in element.properties if prop.count_dtype}
    return PlyContent({element.name: element for element in elements}, comments, source.left_over())


class _Text:
    """The words of a text file after its header, all of them numbers, and how far they have been read."""

    def __init__(self, path: Path, data: bytes, start: int) -> None:
        self.path, self.place = path, 0
        text = plain_text(data[start:])
        values = numbers(text, _words(text))
        if values is None:
            lines = TextLines(text)
            bad = lines.first_bad(np.arange(len(lines.counts)))
            before = data[:start].replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n")
            raise CmahError(f"{path}: line {before + bad + 1}: expected numbers, got {lines.quoted(bad)}")
        self.values = values

    def left_over(self) -> bool:
        """Whether there are numbers after the last element."""
        return self.place < len(self.values)

    def read(self, element: Element) -> None:
        """Fill an element from the words that come next."""
        values, width = self.values[self.place :], len(element.properties)
        if element.count * width > len(values):
            raise _short(self.path, element)
        steps = _alike_rows(values, element)
        if steps is not None:  # all rows alike, as in a file without lists or of triangles alone
            rows = values[: element.count * steps[-1]].reshape(element.count, steps[-1])
            for prop, place, after in zip(element.properties, steps[:-1], steps[1:], strict=True):
                if prop.count_dtype is None:
                    element.columns[prop.name] = rows[:, place]
                else:
                    values = rows[:, place + 1 : after].ravel()
                    element.lists[prop.name] = np.full(element.count, after - place - 1), values
            self.place += rows.size
            return
        starts, lengths, end = _walked(self.path, element, values.tolist())
        for number, prop in enumerate(element.properties):
            if prop.count_dtype is None:
                element.columns[prop.name] = values[starts[number]]
            else:
                element.lists[prop.name] = lengths[number], values[runs(starts[number] + 1, lengths[number])]
        self.place += end


def _alike_rows(values: np.ndarray, element: Element) -> list[int] | None:
    """Where each property begins in a row, and the end, if all rows are as long as the first; None if not."""
    steps = [0]
    for prop in element.properties:
        length = 0
        if prop.count_dtype is not None:
            if steps[-1] >= len(values) or not 0 <= values[steps[-1]] <= len(values):
                return None
            length = int(values[steps[-1]])
        steps.append(steps[-1] + 1 + length)
    if element.count * steps[-1] > len(values):
        return None
    rows = values[: element.count * steps[-1]].reshape(element.count, steps[-1])
    for prop, place, after in zip(element.properties, steps[:-1], steps[1:], strict=True):
        if prop.count_dtype is not None and (rows[:, place] != after - place - 1).any():
            return None
    return steps


def _walked(
    path: Path, element: Element, values: list[float]
) -> tuple[list[np.ndarray], list[np.ndarray], int]:
    """Where each property of each row begins, how long each list is, and the end."""
    lists = [prop.count_dtype is not None for prop in element.properties]
    starts: list[list[int]] = [[] for _ in lists]
    lengths: list[list[int]] = [[] for _ in lists]
    place, end = 0, len(values)
    for _ in range(element.count):
        for number, is_list in enumerate(lists):
            if place >= end:
                raise _short(path, element)
            starts[number].append(place)
            if is_list:
                length = values[place]
                if not 0 <= length < end - place or length != int(length):
                    raise _short(path, element)
                lengths[number].append(int(length))
                place += int(length)
            place += 1
    return [np.array(s, np.int64) for s in starts], [np.array(n, np.int64) for n in lengths], place


class _Binary:
    """The bytes of a binary file after its header, and how far they have been read."""

    def __init__(self, path: Path, data: bytes, start: int) -> None:
        self.path, self.data, self.place = path, data, start
        self.bytes = np.frombuffer(data, np.uint8)

    def left_over(self) -> bool:
        """Whether there are bytes after the last element; a last line end does not count."""
        return bool(self.data[self.place : self.place + 8].strip())

    def read(self, element: Element) -> None:
        """Fill an element from the bytes that come next."""
        least = sum((prop.count_dtype or prop.dtype).itemsize for prop in element.properties)
        if element.count * least > len(self.data) - self.place:
            raise _short(self.path, element)
        row = _alike_row_type(self, element)
        if row is not None:
            rows = np.frombuffer(self.data, row, element.count, self.place)
            for number, prop in enumerate(element.properties):
                if prop.count_dtype is None:
                    element.columns[prop.name] = rows[f"value{number}"]
                else:
                    values = rows[f"value{number}"]
                    element.lists[prop.name] = np.full(element.count, values.shape[1]), values.ravel()
            self.place += rows.nbytes
            return
        starts, lengths, self.place = _walked_bytes(self, element)
        for number, prop in enumerate(element.properties):
            size = prop.dtype.itemsize
            if prop.count_dtype is None:
                element.columns[prop.name] = _gathered(self, starts[number], prop.dtype)
                continue
            values = np.zeros(int(lengths[number].sum()), prop.dtype)
            begins = np.cumsum(lengths[number]) - lengths[number]
            for length, rows_alike in grouped(lengths[number]):
                first = starts[number][rows_alike] + prop.count_dtype.itemsize
                places = (first[:, None] + size * np.arange(length)).ravel()
                values[runs(begins[rows_alike], np.full(len(rows_alike), length))] = _gathered(
                    self, places, prop.dtype
                )
            element.lists[prop.name] = lengths[number], values


def _gathered(binary: _Binary, places: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The values of one type at some bytes."""
    picked = binary.bytes[places[:, None] + np.arange(dtype.itemsize)]
    values: np.ndarray = np.ascontiguousarray(picked).view(dtype).ravel()
    return values


def _alike_row_type(binary: _Binary, element: Element) -> np.dtype | None:
    """The type of a row if all rows have lists as long as those of the first one; None if not."""
    fields: list[tuple[str, np.dtype] | tuple[str, np.dtype, tuple[int, ...]]] = []
    expected, place = {}, binary.place
    for number, prop in enumerate(element.properties):
        if prop.count_dtype is None:
            fields.append((f"value{number}", prop.dtype))
            place += prop.dtype.itemsize
            continue
        if place + prop.count_dtype.itemsize > len(binary.data):
            return None
        given = np.frombuffer(binary.data, prop.count_dtype, 1, place)[0]
        if not 0 <= given <= len(binary.data):
            return None
        length = int(given)
        expected[f"count{number}"] = length
        fields += [(f"count{number}", prop.count_dtype), (f"value{number}", prop.dtype, (length,))]
        place += prop.count_dtype.itemsize + length * prop.dtype.itemsize
    size = place - binary.place
    if size > 2**31 - 1 or element.count * size > len(binary.data) - binary.place:
        return None
    row = np.dtype(fields)
    rows = (
        np.frombuffer(binary.data, row, element.count, binary.place)
        if size * element.count
        else np.zeros(0, row)
    )
    return row if all((rows[name] == length).all() for name, length in expected.items()) else None


def _walked_bytes(binary: _Binary, element: Element) -> tuple[list[np.ndarray], list[np.ndarray], int]:
    """Where each property of each row begins, how long each list is, and the end."""
    data, place, end = binary.data, binary.place, len(binary.data)
    order = (
        "big" if any((p.count_dtype or p.dtype).byteorder == ">" for p in element.properties) else "little"
    )
    shapes = [
        (prop.dtype.itemsize, prop.count_dtype.itemsize if prop.count_dtype else 0, prop.count_dtype)
        for prop in element.properties
    ]
    starts: list[list[int]] = [[] for _ in shapes]
    lengths: list[list[int]] = [[] for _ in shapes]
    for _ in range(element.count):
        for number, (size, count_size, count_dtype) in enumerate(shapes):
            starts[number].append(place)
            if count_dtype is None:
                place += size
                continue
            after = place + count_size
            if after > end:
                raise _short(binary.path, element)
            if count_dtype.kind == "f":
                real = float(np.frombuffer(data, count_dtype, 1, place)[0])
                length = int(real) if 0 <= real <= end else -1
            else:
                length = int.from_bytes(data[place:after], order, signed=count_dtype.kind == "i")  # type: ignore[arg-type]
            if length < 0 or after + length * size > end:
                raise _short(binary.path, element)
            lengths[number].append(length)
            place = after + length * size
        if place > end:
            raise _short(binary.path, element)
    return [np.array(s, np.int64) for s in starts], [np.array(n, np.int64) for n in lengths], place


def _words(text: bytes) -> int:
    """The number of words of a text."""
    dark = np.frombuffer(text, np.uint8) > 32
    return int(dark[0]) + int((dark[1:] & ~dark[:-1]).sum())


def _short(path: Path, element: Element) -> CmahError:
    """The error for an element that the file does not hold in full."""
    return CmahError(
        f"{path}: the header promises {element.count} of {element.name!r}, but the file ends before"
    )
