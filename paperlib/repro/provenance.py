"""Where a recorded number comes from: software versions, hardware, precision, speed and date of a run."""

import math
import os
import platform
import subprocess
import warnings
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "numpy", "gymnasium", "mujoco", "envpool")
ARITHMETIC_SWITCHES = (
    "ATEN_CPU_CAPABILITY", "CUBLAS_WORKSPACE_CONFIG", "MKL_CBWR", "MKL_DEBUG_CPU_TYPE", "MKL_ENABLE_INSTRUCTIONS",
    "NPY_DISABLE_CPU_FEATURES", "NUMBA_CPU_FEATURES", "NUMBA_CPU_NAME", "NVIDIA_TF32_OVERRIDE",
    "ONEDNN_DEFAULT_FPMATH_MODE", "ONEDNN_MAX_CPU_ISA", "OPENBLAS_CORETYPE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)  # fmt: skip
"""Variables of the environment by which a user chooses the instructions or the precision of products."""


def provenance(device: Any, dtype: Any, batch_of_runs: int, wall_time_s: float, steps_per_second: float) -> dict:
    """What is kept beside a run's tables, in JSON's types; no user name, host name or path is among it.

    ``device``: "cpu", "cuda:0" or a torch.device; ``dtype``: "float32" or a torch.dtype; ``batch_of_runs``: how many
    runs trained as one program; ``wall_time_s``: seconds that program took; ``steps_per_second``: environment steps of
    all its runs together per second. ValueError for a count below 1 and for a negative or non-finite time or speed.
    """
    if batch_of_runs < 1:
        raise ValueError(f"batch_of_runs is {batch_of_runs}: at least one run trained")
    for name, value in (("wall_time_s", wall_time_s), ("steps_per_second", steps_per_second)):
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} is {value}: it must be finite and not negative")
    return {
        "versions": _versions(),
        "code": _git_state(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_model(),
        "cpu_cores": _cpu_cores(),
        "device": _device_name(str(device)),
        "dtype": str(dtype).removeprefix("torch."),
        "arithmetic": _arithmetic(),
        "batch_of_runs": int(batch_of_runs),
        "wall_time_s": float(wall_time_s),
        "steps_per_second": float(steps_per_second),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _git(*arguments: str) -> str:
    """The output of a git command in this file's folder; OSError or SubprocessError where it fails or there is no git.

    Also in a checkout that another user owns: its code is being run already. Its hooks are not.
    """
    trusting = ("-c", "safe.directory=*", "-c", "core.fsmonitor=false")
    command, folder = ["git", *trusting, *arguments], Path(__file__).parent
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30, check=True).stdout.strip()


def _git_state() -> dict | None:
    """The revision of the checkout that this file belongs to, "unknown" where git does not tell, None without one."""
    if not (Path(__file__).parents[2] / ".git").exists():
        return None
    try:
        # A copy installed inside some other project's checkout must not report that project's revision.
        if not _git("ls-files", Path(__file__).name):
            return None
        changes = _git("status", "--porcelain", "--untracked-files=no")
        return {"revision": _git("rev-parse", "HEAD"), "uncommitted_changes": changes != ""}
    except (OSError, subprocess.SubprocessError) as error:
        reason = (getattr(error, "stderr", None) or str(error)).splitlines()[0]
        warnings.warn(f"the record says 'unknown' for the revision of the code: {reason}", stacklevel=3)
        return {"revision": "unknown", "uncommitted_changes": None}


def _arithmetic() -> dict:
    """What decides how numbers are rounded, beside versions and hardware.

    float32_products: "ieee" (float32 throughout), or the lower precision allowed, on CUDA and on the CPU ("none": not
    set, which is the same as "ieee"). instruction_set: the vector instructions that torch uses. switches: variables of
    the environment that choose others.
    """
    # Imported here because a reader of records needs no torch.
    import torch

    mkldnn: Any = torch.backends.mkldnn
    backends = {"cuda": torch.backends.cuda.matmul, "cpu": mkldnn.matmul}
    return {
        "float32_products": {name: backend.fp32_precision for name, backend in backends.items()},
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "switches": {name: os.environ[name] for name in ARITHMETIC_SWITCHES if name in os.environ},
    }


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _cpu_cores() -> int:
    """Cores this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _device_name(device: str) -> str:
    if not device.startswith("cuda"):
        return device
    import torch  # as above

    return torch.cuda.get_device_name(device)
