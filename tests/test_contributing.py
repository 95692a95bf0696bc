"""CONTRIBUTING.md's examples are executed, in a copy of the project, as they stand."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_pipeline import ROOT, clean_environment, write_notebook

PAGE = (ROOT / "CONTRIBUTING.md").read_text()
_EDIT = re.compile(
    r"(?:In|New,) `(?P<file>[^`]+)`(?:, (?P<where>at the end))?:"
    r"\n\n```\w+\n(?P<text>.*?)```",
    re.DOTALL,
)


def section(title: str) -> str:
    return PAGE.split(f"### {title}\n", 1)[1].split("\n### ", 1)[0]


def last_code(title: str) -> str:
    return re.findall(r"```python\n(.*?)```", section(title), re.DOTALL)[-1]


def edit(project: Path, title: str) -> list[str]:
    """Make the edits of a section; the files, in order."""
    edits = list(_EDIT.finditer(section(title)))
    for one in edits:
        file = project / one["file"]
        assert file.exists() == (one["where"] is not None)
        file.parent.mkdir(exist_ok=True)
        with file.open("a") as there:
            there.write(one["text"])
    return [one["file"] for one in edits]


@pytest.fixture
def project(tmp_path) -> Path:
    """The code, the settings and the ledger; no recorded run."""
    ignore = shutil.ignore_patterns("__pycache__", "results")
    for folder in ("paperlib", "data"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignore)
    (tmp_path / "notebooks").mkdir()
    for name in ("requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def run(project: Path, *arguments: str) -> str:
    environment = clean_environment(PYTHONPATH=str(project), OMP_NUM_THREADS="1")
    done = subprocess.run([sys.executable, *arguments], cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


SAY = "for r in records: print(r.spec['environment'], r.spec['method'], r.spec['coefficients'], r.status)"


def test_the_environment_takes_one_file_of_ones_own_and_trains(project):
    assert edit(project, "An environment") == ["mine/half_cheetah.yaml"]
    said = run(project, "-c", f"{last_code('An environment')}\n{SAY}").splitlines()
    assert [line.split()[:2] for line in said] == [["HalfCheetah-v5", m] for m in ("base", "pave") * 2]
    assert all(line.endswith("finished") for line in said)


def test_the_method_takes_two_files_of_ones_own_and_trains_alone_and_with_pave(project):
    title = "A method with a term of its own"
    assert edit(project, title) == ["mine/l2c2.py", "mine/l2c2.yaml"]
    train = (
        last_code("An environment")
        .replace("half_cheetah", "l2c2")
        .replace('RunStore("build/runs")', "STORE, workers=2")
    )
    # Two processes: each must know the term, which only the experiment's file names.
    script = (
        "from paperlib.repro.store import RunStore\nif __name__ == '__main__':\n    STORE = RunStore('build/runs')\n"
    )
    script += "".join(f"    {line}\n" for line in [*train.splitlines(), SAY])
    (project / "train.py").write_text(script)
    said = run(project, "train.py").splitlines()
    assert len(said) == 6 and all(line.endswith("finished") for line in said)
    assert sum("'l2c2': 1.0" in line for line in said) == 4
    assert sum("'l2c2': 1.0" in line and "'mpr'" in line for line in said) == 2


def test_the_claim_takes_two_files_and_gets_its_verdict(project):
    title = "Your first claim in fifteen minutes"
    (ledger,) = edit(project, title)
    name = Path(ledger).stem
    entry = (project / ledger).read_text()
    (project / ledger).write_text(entry[entry.index("- id: ours.") :])  # the notebook decides this claim alone
    begin = (
        "import pandas as pd\nfrom paperlib import repro\n"
        "from paperlib.pave.critic_geometry import policy_lipschitz_bound\n"
        f'nb = repro.open_notebook("{name}", profile)'
    )
    cells = ['profile = "quick"', begin, last_code(title), "nb.finish()"]
    write_notebook(project / "notebooks" / f"{name}.ipynb", *cells)
    run(project, "-m", "paperlib.repro", "run", "02", "--profile", "smoke")
    said = run(project, "-m", "paperlib.repro", "claims", "--notebook", "02")
    assert "ours.bound.unit_of_return (Proposition 2): holds" in said


def test_every_path_that_the_page_names_is_there():
    named = re.findall(r"`((?:notebooks|paperlib|data|tests)/[^`*]+)`", PAGE)
    new = re.findall(r"New, `([^`]+)`", PAGE)
    assert len(named) > 10
    assert [path for path in named if path not in new and not (ROOT / path).exists()] == []
