"""The wheel, installed into an environment without the checkout and used from another folder."""

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from test_pipeline import ROOT, clean_environment

import paperlib

pytest.importorskip("flit_core")

# Blocks every module of a distribution that the library's own requirements do not bring.
LIBRARY_ALONE = """
import importlib.metadata as metadata, re, sys
def needed(name, found):
    name = re.sub("[-_.]+", "-", name).lower()
    if name not in found:
        found.add(name)
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            return found
        for line in lines:
            if "extra ==" not in line:
                needed(re.match("[A-Za-z0-9._-]+", line)[0], found)
    return found
ours = needed("paperlib", set())
blocked = {module for module, owners in metadata.packages_distributions().items()
           if not any(re.sub("[-_.]+", "-", owner).lower() in ours for owner in owners)}
assert {"pandas", "gymnasium", "numba", "ot", "matplotlib", "papermill", "stable_baselines3"} <= blocked, blocked
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Block())
"""

USE_THE_LIBRARY = """
import torch
from paperlib.pave import pave_losses, smoothness
from paperlib.pave.engine.settings import published_coefficients
from paperlib.lipschitz import GaussianPolicy, MDPConstants, PolynomialFeatures, gradient_lipschitz, mss_mlc
weights = published_coefficients("pave", "td3", "walker")
critic = lambda s, a: -(a - s.sin()).square().sum(1)
batch = [torch.randn(4, 2) for _ in range(5)]
print(weights.mpr, pave_losses(critic, *batch[:3], state_noise=batch[3], probes=batch[4].sign(), delta=1.0).curv.item())
mdp = MDPConstants(transition=0.4, reward=2.0, reward_bound=4.0, discount=0.9)
policy = GaussianPolicy(PolynomialFeatures([(1,)]), 0.5, state_low=-2, state_high=2, action_low=-2, action_high=2)
print(float(mss_mlc([0.8], gradient_lipschitz(mdp, policy.constants([-0.2]))).guaranteed_improvement) > 0)
"""

TRAIN = """
from pathlib import Path
from paperlib.pave.experiments import load_experiment, train
from paperlib.repro.store import RunStore
print(len(load_experiment("published", "paper")))
(record,) = train(load_experiment("live_training", "smoke")[:1], RunStore(Path("runs")))
print(record.status, len(record.table("evaluations")))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, ROOT]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Path:
    """A virtual environment with the wheel; other packages are found where they are installed, paperlib is not."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, capture_output=True)
    (site,) = folder.glob("lib/python*/site-packages")
    # A plain path: the .pth files in that folder, which lead to the checkout, are not followed.
    (site / "others.pth").write_text(sysconfig.get_path("purelib"))
    return folder


def run(environment: Path, folder: Path, *arguments: str, command: str = "python") -> subprocess.CompletedProcess:
    variables = {name: value for name, value in clean_environment(OMP_NUM_THREADS="1").items() if name != "PYTHONPATH"}
    line = [environment / "bin" / command, *arguments]
    return subprocess.run(line, cwd=folder, env=variables, capture_output=True, text=True)


def output(done: subprocess.CompletedProcess) -> list[str]:
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_wheel_carries_types_settings_and_experiments_but_no_result(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("experiments", "published"):
        there = {f"paperlib/data/{folder}/{file.name}" for file in (ROOT / "data" / folder).iterdir()}
        assert there and there == {name for name in names if name.startswith(f"paperlib/data/{folder}/")}
    assert {"paperlib/py.typed", "paperlib/data/environments.yaml"} <= names
    assert not any("/results/" in name or "/claims/" in name or name.startswith("tests") for name in names)


def test_the_library_alone_does_the_mathematics_of_both_papers(environment, tmp_path):
    said = output(run(environment, tmp_path, "-c", f"{LIBRARY_ALONE}\n{USE_THE_LIBRARY}"))
    assert said == ["0.1 0.0", "True"]


def test_the_library_alone_says_what_its_command_needs(environment, tmp_path):
    main = "sys.argv[1:] = ['status']\nfrom paperlib.repro.__main__ import main\nsys.exit(main())"
    done = run(environment, tmp_path, "-c", f"{LIBRARY_ALONE}\n{main}")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and "pip install 'paperlib[notebooks]'" in line


def test_an_installed_wheel_trains_what_its_definitions_ask_for(environment, tmp_path):
    said = output(run(environment, tmp_path, "-c", f"import paperlib\nprint(paperlib.__file__)\n{TRAIN}"))
    assert Path(said[0]).is_relative_to(environment)
    assert int(said[1]) > 100 and said[2].startswith("finished")
    assert (tmp_path / "runs").is_dir()


def test_the_command_tells_its_version_anywhere(environment, tmp_path):
    assert output(run(environment, tmp_path, "--version", command="paperlib")) == [f"paperlib {paperlib.__version__}"]


@pytest.mark.parametrize("arguments", [["status"], ["claims"], ["run", "00"], ["record", "published"], ["bench"]])
def test_outside_a_checkout_a_command_says_in_one_line_what_it_needs(environment, tmp_path, arguments):
    done = run(environment, tmp_path, *arguments, command="paperlib")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and "need a checkout" in line


def test_in_a_checkout_the_installed_command_sends_to_the_checkouts_own(environment):
    done = run(environment, ROOT, "status", command="paperlib")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and "python -m paperlib.repro in that folder" in line
