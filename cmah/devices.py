"""The device to compute on, and keeping freed memory in the process where the C library allows it."""

import ctypes
import re

import torch

from cmah.errors import ConfigError

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's mallopt


def chosen_device(name: str) -> torch.device:
    """The device of a name: "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:N"; made ready for use.

    Raises:
        ConfigError: for another name, or a device that is not there.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", name):
        raise ConfigError(f"device {name!r}: expected auto, cpu, cuda or cuda:N")
    count = torch.cuda.device_count() if name != "cpu" and torch.cuda.is_available() else 0
    if name.startswith("cuda") and int(name[5:] or 0) >= count:
        raise ConfigError(f"device {name!r}: there is no such device here ({count} CUDA devices are)")
    device = torch.device("cuda" if count else "cpu") if name == "auto" else torch.device(name)
    if device.type == "cpu":
        keep_freed_memory()
    return device


def keep_freed_memory() -> None:
    """Tell glibc to reuse large freed blocks instead of handing each back to the kernel at once.

    Networks on a CPU allocate the same large blocks over and over; by default each comes fresh from the kernel,
    page fault by page fault. MobileNetV2 on batches of 64 images of 128 px spent 12 of its 19 ms an image in the
    kernel, and none with this. Does nothing where there is no mallopt.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


class exact:
    """A `with` block in which CUDA computes in full float32."""

    def __enter__(self) -> None:
        self.before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    def __exit__(self, *_: object) -> None:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = self.before
