"""Device, precision and compiled code of a training do not depend on the user's settings, nor end it."""

import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import pytest
import torch
from test_training import assert_same_results, small_plan

from paperlib.pave.engine import machine
from paperlib.pave.engine.actor_critic import fused
from paperlib.pave.engine.training import Trainer
from paperlib.repro import paths
from paperlib.repro.provenance import provenance

TESTS = Path(__file__).parent


@pytest.fixture
def restored_precision():
    yield
    torch.backends.fp32_precision = "none"
    for backend in (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul, torch.backends.mkldnn):
        backend.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")


def allow_medium():
    torch.set_float32_matmul_precision("medium")


def allow_tf32():
    torch.backends.cuda.matmul.allow_tf32 = True


def allow_everywhere():
    torch.backends.fp32_precision = "tf32"


def allow_in_cublas():
    torch.backends.cuda.matmul.fp32_precision = "tf32"


def allow_in_onednn():
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"


@pytest.mark.parametrize("allow", [allow_medium, allow_tf32, allow_everywhere, allow_in_cublas, allow_in_onednn])
def test_products_are_in_full_float32_whichever_switch_asked_for_less(restored_precision, allow):
    allow()
    machine.use_full_float32()
    facts = provenance("cpu", "float32", 1, 1.0, 1.0)["arithmetic"]
    assert facts["float32_products"] == {"cuda": "ieee", "cpu": "ieee"}
    assert torch.get_float32_matmul_precision() == "highest"


def test_training_does_not_depend_on_the_precision_that_was_set(restored_precision):
    plan = small_plan(steps=100)
    expected = Trainer(plan).run()
    torch.set_float32_matmul_precision("medium")
    assert_same_results(Trainer(plan).run(), expected)
    assert torch.get_float32_matmul_precision() == "highest"


def test_provenance_tells_which_instructions_rounded_the_numbers(monkeypatch):
    monkeypatch.setenv("MKL_ENABLE_INSTRUCTIONS", "AVX2")
    monkeypatch.delenv("MKL_CBWR", raising=False)
    facts = provenance("cpu", "float32", 1, 1.0, 1.0)["arithmetic"]
    assert facts["instruction_set"] == torch.backends.cpu.get_cpu_capability()
    assert facts["threads"] == torch.get_num_threads()
    assert facts["switches"]["MKL_ENABLE_INSTRUCTIONS"] == "AVX2" and "MKL_CBWR" not in facts["switches"]


@pytest.fixture
def pci_devices(tmp_path):
    """Makes a folder as Linux lists the PCI bus, with one device."""

    def make(vendor: str, kind: str) -> Path:
        device = tmp_path / "0000:01:00.0"
        device.mkdir()
        (device / "vendor").write_text(vendor + "\n")
        (device / "class").write_text(kind + "\n")
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("vendor", "kind", "found"),
    [
        ("0x10de", "0x030000", True),
        ("0x10de", "0x030200", True),
        ("0x10de", "0x040300", False),
        ("0x8086", "0x030000", False),
    ],
)
def test_an_nvidia_gpu_is_seen_with_a_driver_or_without(pci_devices, vendor, kind, found):
    assert machine._has_nvidia_gpu(pci_devices(vendor, kind)) is found


@pytest.mark.parametrize(("cuda", "reason"), [("13.0", "driver is missing or too old"), (None, "without CUDA")])
def test_a_gpu_that_cannot_be_used_is_warned_of(monkeypatch, cuda, reason):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(machine, "_has_nvidia_gpu", lambda: True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.warns(UserWarning, match=f"{reason}.*on the CPU"):
        assert machine.default_device() == "cpu"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert machine.default_device() == "cpu"


# --- Compiled code ----------------------------------------------------------------------------------------------------


@pytest.fixture
def cache_of_torch(monkeypatch, tmp_path):
    """Sets TORCHINDUCTOR_CACHE_DIR, or unsets it, and gives the build folder that belongs to it."""
    monkeypatch.setattr(paths, "build_folder", lambda: tmp_path / "build")

    def choose(folder: str | None) -> Path:
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", folder or "")
        if folder is None:
            monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
        return tmp_path / "build" / "compiled"

    return choose


@pytest.mark.parametrize("set_by_torch", [None, os.path.join(tempfile.gettempdir(), "torchinductor_someone")])
def test_compiled_code_is_kept_in_the_build_folder_not_in_a_shared_one(cache_of_torch, set_by_torch):
    ours = cache_of_torch(set_by_torch)
    machine.use_own_compile_cache()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(ours) and ours.is_dir()


def test_a_folder_chosen_for_compiled_code_is_kept_if_it_can_be_made(cache_of_torch, tmp_path):
    cache_of_torch(str(tmp_path / "chosen"))
    machine.use_own_compile_cache()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "chosen")
    ours = cache_of_torch("/proc/nope")
    with pytest.warns(UserWarning, match="/proc/nope, which cannot be made"):
        machine.use_own_compile_cache()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(ours)


def test_without_a_build_folder_compiled_code_is_kept_where_nobody_else_can_write(cache_of_torch, tmp_path):
    cache_of_torch(None)
    (tmp_path / "build").touch()
    machine.use_own_compile_cache()
    folder = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    assert folder.stat().st_mode & 0o77 == 0


def python(program: str, **changes: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", program]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])} | changes
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_training_survives_a_compile_cache_that_cannot_be_made():
    program = "from test_training import *; print(len(Trainer(small_plan(steps=50)).run()))"
    done = python(program, TORCHINDUCTOR_CACHE_DIR="/proc/nope")
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr
    assert done.stderr.count("Warning:") == 1


def test_without_pythons_headers_there_is_one_warning_that_says_so(tmp_path):
    program = """
import sysconfig, torch
real = sysconfig.get_path
sysconfig.get_path = lambda name, *more, **options: "/nope" if "include" in name else real(name, *more, **options)
from paperlib.pave.engine.actor_critic import fused
function = fused(lambda x: torch.sin(x) * 2 + x.exp())
print(*(function(torch.zeros(3)).tolist() for _ in range(2)))
"""
    done = python(program, TORCHINDUCTOR_CACHE_DIR=str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "[1.0, 1.0, 1.0] [1.0, 1.0, 1.0]\n"), done.stderr
    assert done.stderr.count("Warning:") == 1 and "uncompiled: Python.h: No such file" in done.stderr


def test_a_disk_that_fails_while_compiling_leaves_training_uncompiled(monkeypatch):
    def failing(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "compile", lambda function, **options: failing)
    with pytest.warns(UserWarning, match="goes on uncompiled: .*No space left"):
        assert fused(torch.sin)(torch.zeros(2)).tolist() == [0, 0]
