"""What training asks of the machine, whatever the user has set: device, precision, a place for compiled code."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch

from paperlib.repro import paths

_COMPILE_CACHE = "TORCHINDUCTOR_CACHE_DIR"
_NVIDIA = "0x10de"
_DISPLAY_CLASSES = "0x03"


def default_device() -> str:
    """The GPU, "cuda", where torch can use one, else "cpu"; with a warning if there is a GPU that it cannot use."""
    if torch.cuda.is_available():
        return "cuda"
    if _has_nvidia_gpu() and os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1"):
        reason = "its driver is missing or too old" if torch.version.cuda else "this torch is built without CUDA"
        warnings.warn(f"there is an NVIDIA GPU, but {reason}: training runs on the CPU", stacklevel=2)
    return "cpu"


def _has_nvidia_gpu(devices: Path = Path("/sys/bus/pci/devices")) -> bool:
    """Whether the PCI bus (Linux only) has a graphics or compute card of NVIDIA's, with a driver or without."""
    for device in devices.glob("*"):
        try:
            vendor, kind = (device / "vendor").read_text(), (device / "class").read_text()
        except OSError:
            continue
        if vendor.startswith(_NVIDIA) and kind.startswith(_DISPLAY_CLASSES):
            return True
    return False


def use_full_float32() -> None:
    """Multiply float32 matrices in float32 from here on: no TF32 and no bfloat16, whichever of torch's switches asked.

    The others are TORCH_ALLOW_TF32_CUBLAS_OVERRIDE and `fp32_precision` of torch.backends and of its parts.
    """
    torch.set_float32_matmul_precision("highest")


def use_own_compile_cache() -> None:
    """Give torch a folder for compiled code that can be made and that only this user can write to.

    Its own choice has a known name in the shared temporary folder, so whoever makes it first can put code there, and
    without a folder it cannot even make an optimiser. A folder chosen with TORCHINDUCTOR_CACHE_DIR stays, if it can be
    made; else it is one in the build folder, or without a checkout one for this process. Call it before the first
    optimiser is made.
    """
    chosen = os.environ.get(_COMPILE_CACHE)
    if chosen and not chosen.startswith(os.path.join(tempfile.gettempdir(), "torchinductor_")):
        if _can_be_made(Path(chosen)):
            return
        warnings.warn(f"{_COMPILE_CACHE} is {chosen}, which cannot be made: another folder is used", stacklevel=2)
    os.environ[_COMPILE_CACHE] = str(_own_compile_cache())


def _own_compile_cache() -> Path:
    with suppress(paths.NoCheckout):
        if _can_be_made(folder := paths.compiled_folder()):
            return folder
    return _private_folder()


def _can_be_made(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


@cache
def _private_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="paperlib-compiled-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
