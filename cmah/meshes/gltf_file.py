"""glTF 2.0 files: the binary container, the JSON with its values checked, buffers and buffer views.

Format: https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html. Nothing in the file is trusted: an index, a count or
an offset is compared with what is there before anything is allocated by it.
"""

import json
import math
import struct
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, Protocol
from urllib.parse import unquote_to_bytes

from cmah.errors import CmahError

# a small file can ask for much by sharing, instancing and compression: what all of it may come to
MAX_ROWS = 200_000_000
MAX_EXTRA_BYTES = 1 << 30


class NamedFiles(Protocol):
    """What gives the files that a mesh file names.

    Examples:
        >>> from cmah.meshes.mesh_resources import ConfinedResolver
        >>> files: NamedFiles = ConfinedResolver("demo/meshes/chair")
        >>> files.get("chair_000.mtl")[:6]
        b'newmtl'
    """

    def get(self, key: str) -> bytes:
        """The content of the file named `key`; FileNotFoundError if it cannot be had."""


class GltfFile:
    """A glTF or GLB file: its JSON by kind and index, and its bytes by buffer view.

    Args:
        path: the file, for messages.
        data: its content; whether it is JSON or the binary container is told by its first bytes.
        files: gives the files that it names.
        remark: called with a text for whatever is accepted but lost, once for each text.

    Attributes:
        tree: the JSON.
        required: the names of the extensions that the file cannot be read without.
        remarks: what has been said to be lost.
        cache: what has been read already, by a key of its reader.

    Raises:
        CmahError: if it is not glTF 2.0.

    Examples:
        >>> from cmah.meshes.mesh_resources import ConfinedResolver
        >>> text = b'{"asset": {"version": "2.0"}, "nodes": [{"name": "a"}]}'
        >>> gltf = GltfFile(Path("a.gltf"), text, ConfinedResolver("."), print)
        >>> gltf.entry("nodes", 0, "scenes[0]")
        {'name': 'a'}
        >>> gltf.entry("nodes", 7, "scenes[0]")
        Traceback (most recent call last):
        cmah.errors.CmahError: a.gltf: scenes[0] names nodes[7], but the file has 1 of them
    """

    def __init__(self, path: Path, data: bytes, files: NamedFiles, remark: Callable[[str], None]) -> None:
        self.path, self.files = path, files
        self.cache: dict[Any, Any] = {}
        self._remark, self.remarks = remark, set[str]()
        self._rows = self._extra = 0
        self._binary: memoryview | None = None
        self.tree = self._parsed(self._container(data) if data[:4] == b"glTF" else data)
        asset = self.object(self.tree, "asset", "the file")
        version = str(asset.get("minVersion", asset.get("version", "2.0")))
        if version.split(".", maxsplit=1)[0] != "2" or ("minVersion" in asset and version != "2.0"):
            self.fault(f"glTF {version[:20]} is not read; expected 2.0")
        names = self.array(self.tree, "extensionsRequired", "the file")
        self.required = {name for name in names if isinstance(name, str)}

    def fault(self, text: str) -> NoReturn:
        """Refuse the file.

        Raises:
            CmahError: always, with the path and the text in one line.
        """
        raise CmahError(f"{self.path}: {' '.join(text.split())[:300]}")

    def remark(self, text: str) -> None:
        """Say, once, that something of the file is lost."""
        if text not in self.remarks:
            self.remarks.add(text)
            self._remark(text)

    def spend(self, rows: int) -> None:
        """Count `rows` more vertices, indices or instances that are worked on.

        Raises:
            CmahError: if they are more than 200 million by now.
        """
        self._rows += rows
        if self._rows > MAX_ROWS:
            self.fault(f"more than {MAX_ROWS // 10**6} million vertices, indices and instances")

    def allocate(self, size: int) -> None:
        """Count `size` more bytes that are not in the file itself.

        Raises:
            CmahError: if they are more than 1 GiB by now.
        """
        self._extra += size
        if self._extra > MAX_EXTRA_BYTES:
            self.fault("more than 1 GiB of data that is compressed, left out as zeros, or in other files")

    def _container(self, data: bytes) -> bytes:
        """The JSON chunk of a GLB file, whose binary chunk is kept."""
        if len(data) < 20:
            self.fault(f"truncated: a GLB file has a header of 20 bytes, this has {len(data)} bytes")
        version, length = struct.unpack_from("<2I", data, 4)
        if version != 2:
            self.fault(f"GLB of version {version} is not read; expected 2")
        if length > len(data):
            self.fault(f"truncated: its header says {length} bytes, it has {len(data)}")
        chunks: list[tuple[bytes, memoryview]] = []
        place = 12
        while place + 8 <= length:
            size, name = struct.unpack_from("<I4s", data, place)
            if place + 8 + size > length:
                self.fault(f"truncated: a chunk of {size} bytes where {length - place - 8} are left")
            chunks.append((name, memoryview(data)[place + 8 : place + 8 + size]))
            place += 8 + size
            if len(chunks) == 2:  # whatever follows is of no meaning to glTF 2.0
                break
        if not chunks or chunks[0][0] != b"JSON":
            self.fault("the first chunk of the GLB file is not its JSON")
        if len(chunks) > 1 and chunks[1][0] == b"BIN\0":
            self._binary = chunks[1][1]
        return bytes(chunks[0][1])

    def _parsed(self, text: bytes) -> dict[str, Any]:
        """The JSON; exporters pad it with zeros, and begin it with a byte order mark."""
        try:
            tree = json.loads(text.rstrip(b"\0 \t\r\n").decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
            self.fault(f"not readable as {self.path.suffix[1:].upper()} (its JSON is broken: {reason})")
        if not isinstance(tree, dict):
            self.fault(f"not readable as {self.path.suffix[1:].upper()} (its JSON is not an object)")
        return tree

    def entries(self, kind: str) -> list[Any]:
        """All objects of a kind ("nodes", "meshes", …), which may still be anything."""
        return self.array(self.tree, kind, "the file")

    def entry(self, kind: str, index: Any, where: str) -> dict[str, Any]:
        """The object of a kind by the index that stands at `where`.

        Raises:
            CmahError: if there is none.
        """
        entries, number = self.entries(kind), whole_number(index)
        if number is None or not 0 <= number < len(entries):
            self.fault(f"{where} names {kind}[{str(index)[:20]}], but the file has {len(entries)} of them")
        entry = entries[number]
        if not isinstance(entry, dict):
            self.fault(f"{kind}[{number}] is not an object")
        return entry

    def array(self, holder: dict[str, Any], key: str, where: str) -> list[Any]:
        """The list under `key`, empty if there is none."""
        value = holder.get(key, [])
        if not isinstance(value, list):
            self.fault(f"{where}: {key} is not a list")
        return value

    def object(self, holder: dict[str, Any], key: str, where: str) -> dict[str, Any]:
        """The object under `key`, empty if there is none."""
        value = holder.get(key, {})
        if not isinstance(value, dict):
            self.fault(f"{where}: {key} is not an object")
        return value

    def extension(self, holder: dict[str, Any], name: str, where: str) -> dict[str, Any] | None:
        """What an extension says about `holder`, or None."""
        extensions = self.object(holder, "extensions", where)
        return self.object(extensions, name, where) if name in extensions else None

    def count(self, holder: dict[str, Any], key: str, where: str, default: int | None = None) -> int:
        """The whole number of 0 or more under `key`; without a default it must be there."""
        value = whole_number(holder.get(key, default))
        if value is None or value < 0:
            self.fault(f"{where}: {key} should be a whole number, got {str(holder.get(key))[:20]}")
        return value

    def numbers(
        self, holder: dict[str, Any], key: str, length: int | None, where: str, default: list[float]
    ) -> list[float]:
        """The finite numbers under `key`, `length` of them if it is given."""
        if key not in holder:
            return default
        values = holder[key]
        if not isinstance(values, list) or (length is not None and len(values) != length):
            self.fault(f"{where}: {key} should be a list of {length if length is not None else ''} numbers")
        return [self.number(value, f"{where}: {key}") for value in values]

    def number(self, value: Any, where: str) -> float:
        """A finite number as a float."""
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300:
            return float(value)
        self.fault(f"{where} should be a finite number, got {str(value)[:20]}")

    def slice(self, holder: dict[str, Any], where: str) -> memoryview:
        """The bytes that `buffer`, `byteOffset` and `byteLength` of a buffer view name.

        Raises:
            CmahError: if they lie outside the buffer.
        """
        data = self.buffer(holder.get("buffer"), where)
        start, length = self.count(holder, "byteOffset", where, 0), self.count(holder, "byteLength", where)
        if start + length > len(data):
            self.fault(f"{where} lies outside its buffer (bytes {start} to {start + length} of {len(data)})")
        return data[start : start + length]

    def buffer(self, index: Any, where: str) -> memoryview:
        """The bytes of a buffer: the binary chunk, a data URI, or another file.

        Raises:
            CmahError: if they cannot be had, or are fewer than the file says.
        """
        entry = self.entry("buffers", index, where)
        number = int(index)
        if ("buffer", number) not in self.cache:
            here, uri = f"buffers[{number}]", entry.get("uri")
            if isinstance(uri, str):
                data = memoryview(self.resource(uri, here))
            elif number == 0 and self._binary is not None:
                data = self._binary
            else:
                self.fault(f"{here} has no bytes: no uri, and it is not the binary chunk")
            length = self.count(entry, "byteLength", here, len(data))
            if len(data) < length:
                self.fault(f"{here} is truncated: {length} bytes expected, {len(data)} there")
            self.cache["buffer", number] = data
        buffer: memoryview = self.cache["buffer", number]
        return buffer

    def resource(self, uri: str, where: str) -> bytes:
        """The bytes that a URI names: those in a data URI, or the content of a file.

        Raises:
            CmahError: if the file cannot be had, or the data URI is broken.
        """
        if ("resource", uri) not in self.cache:
            self.cache["resource", uri] = self._fetched(uri)
        resource: bytes | str = self.cache["resource", uri]
        if isinstance(resource, str):
            self.fault(f"{where}: {resource}")
        return resource

    def _fetched(self, uri: str) -> bytes | str:
        """The bytes that a URI names, or why they cannot be had."""
        try:
            data = data_uri_bytes(uri) if uri[:5].lower() == "data:" else self.files.get(uri)
        except FileNotFoundError:
            return f"file not found ({uri[:100]})"
        except ValueError:
            return "its data URI is broken"
        self.allocate(len(data))
        return data


def whole_number(value: Any) -> int | None:
    """The integer that a JSON value is, also if it is written as 3.0; None if it is none.

    Examples:
        >>> whole_number(3.0), whole_number(True), whole_number("3")
        (3, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if isinstance(value, int) or (math.isfinite(value) and value == int(value)) else None


def data_uri_bytes(uri: str) -> bytes:
    """The bytes in a data URI (RFC 2397).

    Raises:
        ValueError: if it is broken.

    Examples:
        >>> data_uri_bytes("data:application/octet-stream;base64,AAEC"), data_uri_bytes("data:,a%20b")
        (b'\\x00\\x01\\x02', b'a b')
    """
    head, comma, body = uri.partition(",")
    if not comma:
        raise ValueError("no comma")
    data = unquote_to_bytes(body)
    if not head.lower().rstrip().endswith(";base64"):
        return data
    data = data.translate(None, b" \t\r\n").rstrip(b"=")
    return b64decode(data + b"=" * (-len(data) % 4), validate=True)
