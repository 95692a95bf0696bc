"""Where a recorded number comes from: software versions, hardware, precision, speed and date of a run."""

import math
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "numpy", "gymnasium", "mujoco", "envpool")


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


def _git(*arguments: str) -> str | None:
    """The output of a git command in this file's folder, None where it fails or there is no git."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _git_state() -> dict | None:
    # A copy installed inside some other project's checkout must not report that project's revision.
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    revision, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    if revision is None or changes is None:
        return None
    return {"revision": revision, "uncommitted_changes": changes != ""}


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
    # Imported here because a reader of records needs no torch.
    import torch

    return torch.cuda.get_device_name(device)
