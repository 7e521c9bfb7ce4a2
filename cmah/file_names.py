"""Names of files for people and for other programs: names that are not text, and addresses that are no files."""

import os
import re
import unicodedata
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

from cmah.checks import shown
from cmah.errors import CmahError

# a scheme, and what is left of "//" where the text has been made a path
_URL = re.compile(r"(?:https?|ftps?|s3|gs|hf|file|data):/", re.IGNORECASE)

# they turn the direction of the text around them, so that a name reads as another
_TURNING = "\u202a-\u202e\u2066-\u2069"


def as_path(path: object, error: type[CmahError] = CmahError) -> Path:
    """The path of a file or folder that was given.

    Args:
        path: a text or a path.
        error: class of the error.

    Raises:
        CmahError: of class `error`, for anything else: a number would be taken for an open file.

    Examples:
        >>> as_path("photos/chair.jpg").name
        'chair.jpg'
        >>> as_path(3)
        Traceback (most recent call last):
        cmah.errors.CmahError: the path is 3, expected a text or a path
    """
    if isinstance(path, os.PathLike):
        path = os.fspath(path)
    if not isinstance(path, str):
        raise error(f"the path is {shown(path)}, expected a text or a path")
    return Path(path)


def readable_name(path: str | Path) -> str:
    """The path as text that can be printed on a line and written as UTF-8.

    A path that cannot (its bytes are no UTF-8, or it has characters that control or turn the text) is given as the
    `file:` URL of its absolute path, in which each such byte is %XX. So the file can be found again: by `path_of_name`,
    and by whatever reads URLs.

    Examples:
        >>> readable_name("photos/chair.jpg")
        'photos/chair.jpg'
        >>> readable_name(os.fsdecode(b"/photos/caf\\xe9.jpg"))
        'file:///photos/caf%E9.jpg'
    """
    text = str(path)
    if text.isprintable() or not (
        any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in text)
        or re.search(f"[{_TURNING}]", text)
    ):
        return text
    try:
        return "file://" + quote_from_bytes(os.fsencode(os.path.abspath(text)))
    except UnicodeEncodeError:  # no file can have that name
        return readable_text(text)


def path_of_name(name: str) -> Path:
    """The path that `readable_name` was given, or another one of the same file.

    Examples:
        >>> os.fsencode(path_of_name("file:///photos/caf%E9.jpg"))
        b'/photos/caf\\xe9.jpg'
        >>> str(path_of_name("photos/chair.jpg"))
        'photos/chair.jpg'
    """
    if name.startswith("file:///"):
        return Path(os.fsdecode(unquote_to_bytes(name.removeprefix("file://"))))
    return Path(name)


def readable_text(text: str) -> str:
    """A message that may have such a path in it, as text for a terminal: bytes and control characters become \\xXX.

    Examples:
        >>> readable_text(os.fsdecode(b"caf\\xe9.jpg: no such file"))
        'caf\\\\xe9.jpg: no such file'
    """
    escaped = re.sub("[\udc80-\udcff]", lambda found: f"\\x{ord(found.group()) - 0xDC00:02x}", text)
    escaped = re.sub("[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda found: f"\\x{ord(found.group()):02x}", escaped)
    escaped = re.sub(f"[{_TURNING}]", lambda found: f"\\u{ord(found.group()):04x}", escaped)
    return escaped.encode(errors="backslashreplace").decode()


def refuse_url(path: str | Path, error: type[CmahError] = CmahError) -> None:
    """Refuse the address of something that is not on this machine's disks, or is not written as a path.

    Args:
        path: what was given; also one of which `Path` has taken a slash.
        error: class of the error.

    Raises:
        CmahError: of class `error`, if it begins as a URL does and no file has that name.

    Examples:
        >>> refuse_url("photos/chair.jpg")
        >>> refuse_url("https://example.org/chair.jpg")
        Traceback (most recent call last):
        cmah.errors.CmahError: https://example.org/chair.jpg: a URL, expected a path; download it first
    """
    text = str(path)
    match = _URL.match(text)
    if match is None or os.path.lexists(text):
        return
    if isinstance(path, Path):  # which has made one slash of two
        text = text.replace(":/", ":///" if match.group().lower() == "file:/" else "://", 1)
    if text.lower().startswith("file:"):
        name = re.sub(r"^file:/+", "/", text, flags=re.IGNORECASE)
        raise error(
            f"{text}: a URL, expected the path itself: {readable_text(str(path_of_name('file://' + name)))}"
        )
    raise error(f"{text}: a URL, expected a path; download it first")
