"""The user's settings, machine and folders: they change no result, and what cannot work says so in one line."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import matplotlib as mpl
import pytest
from test_pipeline import ROOT, clean_environment, nbval_options, toy_project, write_notebook  # noqa: F401

from paperlib import repro
from paperlib.repro import __main__, cli, figures, kernels, paths, provenance
from paperlib.repro.store import RunStore


def one_line(text: str) -> str:
    (line,) = text.splitlines()
    return line


def run_paperlib(*arguments: str, cwd: Path, code: Path, **changes: str) -> subprocess.CompletedProcess:
    """The command line with the paperlib that lies in the folder `code`."""
    command = [sys.executable, "-P", "-m", "paperlib.repro", *arguments]
    environment = clean_environment(PYTHONPATH=str(code), **changes)
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


# --- The user's settings ----------------------------------------------------------------------------------------------

EXPECTED_IN_A_KERNEL = {
    "no start-up file of IPython ran": "sum([1, 2]) == 3",
    "no configuration of IPython was read": "'configured' not in dir()",
    "no PYTHONSTARTUP file ran": "'started' not in dir()",
    "assertions are made": "__debug__",
    "figures are shown in the notebook": "matplotlib.get_backend().endswith('inline')",
    "the checkout's code is imported": "paperlib.__file__ == os.path.abspath('../paperlib/__init__.py')",
    "outputs go over sockets of a file system": "connection['transport'] == 'ipc'",
    "only this user reaches the sockets": "os.stat(os.path.dirname(connection['ip'])).st_mode & 0o77 == 0",
}
IMPORTS = """import os, matplotlib, paperlib
import matplotlib.pyplot
from ipykernel.connect import get_connection_info
connection = get_connection_info(unpack=True)"""


@pytest.fixture
def sockets():
    """A temporary folder with a short path, as Unix sockets need it."""
    folder = Path(tempfile.mkdtemp(prefix="t"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def user_settings(tmp_path, sockets) -> dict[str, str]:
    """Settings that each spoil a notebook."""
    home = tmp_path / "home"
    profile = home / ".ipython" / "profile_default"
    (profile / "startup").mkdir(parents=True)
    (profile / "startup" / "shadow.py").write_text("sum = None")
    (profile / "ipython_config.py").write_text("c.InteractiveShellApp.exec_lines = ['configured = True']")
    (tmp_path / "pythonstartup.py").write_text("started = True")
    return {
        "HOME": str(home),
        "MPLBACKEND": "nonsense",
        "JUPYTER_CONFIG_DIR": "/proc/nope",
        "PYTHONSTARTUP": str(tmp_path / "pythonstartup.py"),
        "PYTHONOPTIMIZE": "2",
        "TMPDIR": str(sockets),
    }


@pytest.fixture
def expecting_notebook(toy_project) -> Path:  # noqa: F811
    """A notebook with a cell that fails for each expectation that is not met; stripped assertions would not."""
    cells = [
        f"if not ({expression}):\n    raise SystemError({what!r})" for what, expression in EXPECTED_IN_A_KERNEL.items()
    ]
    notebook = toy_project / "notebooks" / "00_good.ipynb"
    write_notebook(notebook, 'profile = "quick"', IMPORTS, *cells)
    return notebook


def test_a_notebook_runs_without_the_users_settings(expecting_notebook, user_settings, sockets):
    project = expecting_notebook.parents[1]
    leftover = sockets / "paperlib-kernel-dead"
    leftover.mkdir()
    (leftover / "alive").touch()
    done = run_paperlib("run", "00_good", "--profile", "smoke", cwd=project, code=project, **user_settings)
    assert done.returncode == 0, done.stderr
    assert list(sockets.glob("paperlib-kernel-*")) == []


def test_nbval_runs_a_notebook_without_the_users_settings(expecting_notebook, user_settings, sockets):
    project = expecting_notebook.parents[1]
    # A home folder in which nothing can be made, too.
    user_settings |= {"IPYTHONDIR": user_settings["HOME"] + "/.ipython", "HOME": "/proc", "PYTHONPATH": str(project)}
    command = [sys.executable, "-m", "pytest", "-q", *nbval_options(), "--rootdir=.", "notebooks/00_good.ipynb"]
    environment = clean_environment(**user_settings)
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert f"{2 + len(EXPECTED_IN_A_KERNEL)} passed" in done.stdout
    assert list(sockets.glob("paperlib-kernel-*")) == []


def test_a_folder_of_kernels_that_run_stays(sockets, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(sockets))
    with kernels.kernel_environment({}):
        (first,) = sockets.iterdir()
        with kernels.kernel_environment({}):
            assert len(list(sockets.iterdir())) == 2
        assert list(sockets.iterdir()) == [first]
        assert os.environ["JUPYTER_RUNTIME_DIR"] == str(first)
    assert list(sockets.iterdir()) == []


def test_the_users_matplotlibrc_changes_no_figure():
    with mpl.rc_context():
        figures.set_style()
        ours = dict(mpl.rcParams)
    theirs = {
        "text.usetex": True,
        "savefig.bbox": "tight",
        "lines.linewidth": 9.0,
        "image.cmap": "jet",
        "font.sans-serif": ["Arial"],
    }
    with mpl.rc_context(theirs):
        figures.set_style()
        assert dict(mpl.rcParams) == ours
    # Of the fonts only this one comes with matplotlib.
    assert ours["font.sans-serif"] == ["DejaVu Sans"]


def test_the_environment_is_installed_in_its_own_folder_whatever_pip_is_told(toy_project, tmp_path):  # noqa: F811
    log = tmp_path / "log"
    python = tmp_path / "python"
    python.write_text(f'#!/bin/bash\necho "user=$PIP_USER target=$PIP_TARGET prefix=$PIP_PREFIX" >> {log}\n')
    python.chmod(0o755)
    conda = tmp_path / "bin" / "conda"
    conda.parent.mkdir()
    conda.write_text(f"#!/bin/bash\nmkdir -p .env/bin; cp {python} .env/bin/python\n")
    conda.chmod(0o755)
    told = {"PIP_USER": "1", "PIP_TARGET": "/x", "PIP_PREFIX": "/y"}
    environment = clean_environment(PATH=f"{conda.parent}:/usr/bin:/bin", **told)
    subprocess.run(["make", "env"], cwd=toy_project, env=environment, capture_output=True, check=True)
    assert one_line(log.read_text()) == "user=0 target= prefix="


# --- Which checkout, which folder -------------------------------------------------------------------------------------


def test_a_checkout_whose_path_has_a_colon_is_refused(toy_project):  # noqa: F811
    project = toy_project.rename(toy_project.with_name("with:colon"))
    done = subprocess.run(
        ["make", f"ENV={sys.prefix}", "help"], cwd=project, env=clean_environment(), capture_output=True, text=True
    )
    assert done.returncode != 0 and "has a colon" in one_line(done.stderr)
    command = [sys.executable, "-m", "paperlib.repro", "status"]  # the code is found in the working folder
    done = subprocess.run(command, cwd=project, env=clean_environment(), capture_output=True, text=True)
    assert done.returncode == 2 and "splits PYTHONPATH" in one_line(done.stderr)


def test_the_code_of_one_checkout_does_not_work_on_another_one(toy_project, monkeypatch):  # noqa: F811
    done = run_paperlib("run", "00_good", cwd=toy_project / "notebooks", code=ROOT)
    assert done.returncode == 2
    line = one_line(done.stderr)
    assert str(ROOT) in line and str(toy_project) in line
    monkeypatch.chdir(toy_project / "notebooks")
    with pytest.raises(paths.NoCheckout, match="another checkout"):
        repro.open_notebook("00_start_here", "smoke")


@pytest.mark.parametrize("command", [["run", "06"], ["claims", "--notebook", "06"], ["bench", "x"], ["status"]])
def test_without_a_checkout_every_command_says_so_in_one_line(tmp_path, command):
    shutil.copytree(ROOT / "paperlib", tmp_path / "site" / "paperlib", ignore=shutil.ignore_patterns("__pycache__"))
    done = run_paperlib(*command, cwd=tmp_path, code=tmp_path / "site")
    assert done.returncode == 2
    assert "need a checkout" in one_line(done.stderr)


@pytest.fixture
def project_in_use(toy_project, monkeypatch) -> Path:  # noqa: F811
    monkeypatch.setattr("paperlib.repro.paths.project_folder", lambda: toy_project)
    monkeypatch.delenv("PAPERLIB_BUILD", raising=False)
    return toy_project


@pytest.mark.parametrize("given", ["00", "00_good", "00_good.ipynb", "{project}/notebooks/00_good.ipynb"])
def test_a_notebook_can_be_given_as_name_number_or_file(project_in_use, given, capsys):
    assert cli.main(["publish", given.format(project=project_in_use)]) == 1
    line = one_line(capsys.readouterr().err)
    assert "00_good is not executed yet" in line and "paperlib run 00_good --profile quick" in line


@pytest.mark.parametrize("given", ["0", "good", "{project}/00_good.ipynb", "{project}/notebooks/00.ipynb"])
def test_what_is_no_notebook_of_the_project_is_refused(project_in_use, given):
    shutil.copy(project_in_use / "notebooks" / "00_good.ipynb", project_in_use)
    with pytest.raises(SystemExit) as exit_:
        cli.main(["publish", given.format(project=project_in_use)])
    assert exit_.value.code == 2


@pytest.mark.parametrize("folder", ["/proc/nope", "Makefile", "Makefile/below"])
def test_a_build_folder_that_cannot_be_made_is_named_in_one_line(project_in_use, monkeypatch, capsys, folder):
    monkeypatch.setenv("PAPERLIB_BUILD", folder)
    assert cli.main(["run", "00_good"]) == 1
    assert f"{folder} cannot be made" in one_line(capsys.readouterr().err)
    assert cli.main(["status"]) == 0


def test_clean_keeps_the_run_store_and_clean_runs_removes_it(toy_project):  # noqa: F811
    run, figure = toy_project / "build" / "runs" / "record.json", toy_project / "build" / "figures" / "a.png"
    for path in (run, figure):
        path.parent.mkdir(parents=True)
        path.touch()

    def make(target: str) -> None:
        command = ["make", f"ENV={sys.prefix}", target]
        subprocess.run(command, cwd=toy_project, env=clean_environment(), capture_output=True, check=True)

    make("clean")
    assert run.exists() and not figure.parent.exists()
    make("clean-runs")
    assert not run.parent.exists()


# --- Python without docstrings, interruptions -------------------------------------------------------------------------


def test_the_command_line_works_without_docstrings(tmp_path):
    done = run_paperlib("--help", cwd=tmp_path, code=ROOT, PYTHONOPTIMIZE="2")
    assert done.returncode == 0, done.stderr


def test_an_interruption_while_modules_load_ends_with_one_line(monkeypatch, capsys):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "main", interrupted)
    monkeypatch.setattr("logging.disable", lambda: None)
    assert __main__.main() == 130
    assert one_line(capsys.readouterr().err) == "paperlib: interrupted"


def heed_interrupts() -> None:
    """A shell starts its background jobs with interrupts ignored, and their children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_an_interrupted_notebook_ends_with_one_line_and_leaves_no_kernel(toy_project, sockets):  # noqa: F811
    cells = ('profile = "quick"', "import time\nopen('begun', 'w')\ntime.sleep(60)")
    write_notebook(toy_project / "notebooks" / "00_good.ipynb", *cells)
    command = [sys.executable, "-m", "paperlib.repro", "run", "00_good", "--profile", "smoke"]
    environment = clean_environment(TMPDIR=str(sockets))
    pipes = {"stderr": subprocess.PIPE, "text": True, "preexec_fn": heed_interrupts}
    with subprocess.Popen(command, cwd=toy_project, env=environment, **pipes) as running:
        while not (toy_project / "notebooks" / "begun").exists() and running.poll() is None:
            time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        errors = running.communicate()[1]
    assert (running.returncode, one_line(errors)) == (130, "paperlib: interrupted")
    assert list(sockets.glob("paperlib-kernel-*")) == []


# --- git, wheels, file systems ----------------------------------------------------------------------------------------


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repository(tmp_path) -> Path:
    """A git checkout with one module of paperlib, data and a script, committed."""
    folder = tmp_path / "repository"
    files = ("paperlib/repro/provenance.py", ".gitattributes", ".ci/run", "data/notebooks.yaml", "data/odd.csv")
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name != "data/odd.csv":
            shutil.copy(ROOT / name, folder / name)
    (folder / "data" / "odd.csv").write_bytes(b"lf\ncrlf\r\n")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "all")
    return folder


def test_a_checkout_with_autocrlf_has_the_same_bytes(repository, tmp_path):
    git(tmp_path, "clone", "--quiet", "--config", "core.autocrlf=true", str(repository), "clone")
    names = git(repository, "ls-files").splitlines()
    assert "data/odd.csv" in names and ".ci/run" in names
    for name in names:
        assert (tmp_path / "clone" / name).read_bytes() == (repository / name).read_bytes(), name
    assert git(tmp_path / "clone", "status", "--porcelain") == ""


@pytest.fixture
def code_in_repository(repository, monkeypatch) -> Path:
    monkeypatch.setattr(provenance, "__file__", str(repository / "paperlib" / "repro" / "provenance.py"))
    return repository


def test_a_checkout_of_another_users_records_its_revision(code_in_repository, monkeypatch):
    revision = git(code_in_repository, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    code = provenance.provenance("cpu", "float32", 1, 1.0, 1.0)["code"]
    assert code == {"revision": revision, "uncommitted_changes": False}


@pytest.mark.parametrize("script", ["echo 'fatal: dubious ownership' >&2; exit 128", None])
def test_a_revision_that_git_does_not_tell_is_unknown_with_a_warning(code_in_repository, monkeypatch, tmp_path, script):
    (tmp_path / "bin").mkdir()
    if script is not None:
        (tmp_path / "bin" / "git").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.warns(UserWarning, match="'unknown' for the revision of the code: .*(dubious|No such file)"):
        code = provenance.provenance("cpu", "float32", 1, 1.0, 1.0)["code"]
    assert code == {"revision": "unknown", "uncommitted_changes": None}


def test_code_that_is_not_tracked_has_no_revision(code_in_repository, monkeypatch):
    monkeypatch.setattr(provenance, "__file__", str(code_in_repository / "paperlib" / "repro" / "untracked.py"))
    assert provenance.provenance("cpu", "float32", 1, 1.0, 1.0)["code"] is None
    shutil.rmtree(code_in_repository / ".git")
    assert provenance.provenance("cpu", "float32", 1, 1.0, 1.0)["code"] is None


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_a_file_system_without_locks_says_what_to_do(tmp_path, monkeypatch, number):
    def missing(descriptor, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", missing)
    advice = pytest.raises(OSError, match="choose a build folder on another one: make BUILD=")
    with advice as raised, RunStore(tmp_path).claim({"experiment": "any"}):
        pass
    assert raised.value.errno == number


def test_a_removed_module_is_in_no_later_wheel(tmp_path):
    pytest.importorskip("flit_core")
    project = tmp_path / "project"
    for folder in ("paperlib/repro", "tools", "data/experiments", "data/published"):
        shutil.copytree(ROOT / folder, project / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("paperlib/__init__.py", "data/environments.yaml", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, project / name)
    before = set(project.rglob("*"))

    def modules_in_wheel() -> set[str]:
        command = [
            sys.executable,
            "-B",
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            tmp_path,
        ]
        subprocess.run([*command, project], check=True, capture_output=True, cwd=tmp_path)
        (wheel,) = tmp_path.glob("*.whl")
        return set(zipfile.ZipFile(wheel).namelist())

    (project / "paperlib" / "removed.py").touch()
    assert "paperlib/removed.py" in modules_in_wheel()
    (project / "paperlib" / "removed.py").unlink()
    modules = modules_in_wheel()
    assert "paperlib/removed.py" not in modules and "paperlib/repro/cli.py" in modules
    assert set(project.rglob("*")) == before
