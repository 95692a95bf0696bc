"""Executing notebooks: make, the command line, kernels, nbval, set-up and publishing."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat import v4

from paperlib.repro import cli, data_reads, execution, paths, pipeline
from paperlib.repro.catalogue import load_catalogue
from paperlib.repro.profiles import PROFILES
from paperlib.repro.publishing import without_execution_traces
from paperlib.repro.store import RunStore

ROOT = Path(__file__).parents[1]


def clean_environment(**changes: str) -> dict[str, str]:
    """The environment without what an outer make or an outer test run has set."""
    left_out = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "PYTHONPATH", "PAPERLIB_BUILD", "PAPERLIB_PROFILE"}
    kept = {key: value for key, value in os.environ.items() if key not in left_out}
    return kept | {"PYTHONDONTWRITEBYTECODE": "1"} | changes


def write_notebook(path: Path, *sources: str) -> None:
    """A notebook of code cells; the first one gets the parameters tag."""
    cells = [v4.new_code_cell(source) for source in sources]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(v4.new_notebook(cells=cells, metadata=kernel), path)


@pytest.fixture
def rogue_kernel(tmp_path) -> dict[str, str]:
    """Environment variables under which the machine's kernel named python3 is one that always fails."""
    specification = json.dumps({"argv": ["/bin/false"], "display_name": "Rogue", "language": "python"})
    home = tmp_path / "home"
    for folder in (tmp_path / "jupyter", home / ".local" / "share" / "jupyter"):
        (folder / "kernels" / "python3").mkdir(parents=True)
        (folder / "kernels" / "python3" / "kernel.json").write_text(specification)
    return {"JUPYTER_PATH": str(tmp_path / "jupyter"), "HOME": str(home)}


@pytest.fixture
def toy_project(tmp_path) -> Path:
    """A project with this Makefile and paperlib.repro, two toy notebooks with a claim each, and a toy scoreboard."""
    project = tmp_path / "project"
    for folder in ("data", "notebooks"):
        (project / folder).mkdir(parents=True)
    for name in ("Makefile", "requirements.lock", "pyproject.toml", "environment.yml"):
        shutil.copy(ROOT / name, project)
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "paperlib" / "repro", project / "paperlib" / "repro", ignore=ignore)
    shutil.copy(ROOT / "paperlib" / "__init__.py", project / "paperlib")
    names = ("00_good", "01_broken", "18_scoreboard")
    (project / "data" / "notebooks.yaml").write_text(yaml.safe_dump(dict.fromkeys(names, "toy")))
    rule = {"measure": "m", "check": "at_most", "threshold": 1}
    claim = {"paper": "pave", "where": "here", "statement": "s", "kind": "number", "rule": rule}
    (project / "data" / "claims").mkdir()
    for name in names[:2]:
        ledger = yaml.safe_dump([claim | {"id": f"pave.{name[3:]}"}])
        (project / "data" / "claims" / f"{name}.yaml").write_text(ledger)
    (project / "data" / "read_by_good.csv").write_text("a\n1\n")
    for name in names[:2]:
        write_notebook(project / "notebooks" / f"{name}.ipynb", *toy_cells(name))
    write_notebook(project / "notebooks" / "18_scoreboard.ipynb", 'profile = "quick"', "print(profile)")
    break_notebook(project / "notebooks" / "01_broken.ipynb")
    return project


def toy_cells(name: str) -> tuple[str, ...]:
    begin = f'from paperlib import repro\nnb = repro.open_notebook("{name}", profile)'
    begin += '\nopen("../data/read_by_good.csv").close()' if name == "00_good" else ""
    return 'profile = "quick"', begin, f'nb.verdict("pave.{name[3:]}", 1, artefact="data/notebooks.yaml")\nnb.finish()'


def change_with_its_date_kept(path: Path, content: str) -> None:
    """As cp -p, rsync -t and tar do."""
    about = path.stat()
    path.write_text(content)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def break_notebook(path: Path) -> None:
    cells = nbformat.read(path, as_version=4)
    cells.cells.insert(1, v4.new_code_cell('raise RuntimeError("deliberate break")'))
    nbformat.write(cells, path)


def test_one_broken_notebook_loses_nothing_of_the_others_and_a_second_run_repeats_nothing(toy_project, rogue_kernel):
    def make(*arguments: str) -> tuple[int, set[str], str]:
        """Exit code, the notebooks that ran, and all output."""
        command = ["make", f"ENV={sys.prefix}", *arguments]
        environment = clean_environment(**rogue_kernel)
        done = subprocess.run(command, cwd=toy_project, env=environment, capture_output=True, text=True)
        ran = set(re.findall(r"^(\S+): running", done.stdout, re.MULTILINE))
        return done.returncode, ran, done.stdout + done.stderr

    build = toy_project / "build"
    code, ran, output = make("-j2", "reproduce", "PROFILE=smoke")
    assert (code != 0, ran) == (True, {"00_good", "01_broken", "18_scoreboard"}), output
    assert re.search(r"01_broken +failed", output) and "deliberate break" in output
    assert "pave.broken (here): no verdict" in output
    assert "deliberate break" in (build / "notebooks" / "01_broken.failed.ipynb").read_text()
    assert json.loads((build / "verdicts" / "00_good.json").read_text())[0]["verdict"] == "holds"

    write_notebook(toy_project / "notebooks" / "01_broken.ipynb", *toy_cells("01_broken"))
    code, ran, output = make("reproduce", "PROFILE=smoke")
    assert (code, ran) == (0, {"01_broken", "18_scoreboard"}), output
    assert not (build / "notebooks" / "01_broken.failed.ipynb").exists()

    code, ran, output = make("reproduce", "PROFILE=smoke")
    assert (code, ran) == (0, set()), output

    change_with_its_date_kept(toy_project / "data" / "read_by_good.csv", "a\n2\n")
    code, ran, output = make("reproduce", "PROFILE=smoke")
    assert (code, ran) == (0, {"00_good"}), output

    code, ran, output = make("notebooks/00_good", "PROFILE=quick")
    assert (code, ran) == (0, {"00_good"}), output
    assert "profile quick" in (build / "notebooks" / "00_good.ipynb").read_text()


def test_two_makes_at_once_execute_each_notebook_once(toy_project, rogue_kernel):
    write_notebook(toy_project / "notebooks" / "01_broken.ipynb", *toy_cells("01_broken"))
    command = ["make", f"ENV={sys.prefix}", "reproduce", "PROFILE=smoke"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    environment = clean_environment(**rogue_kernel)
    both = [subprocess.Popen(command, cwd=toy_project, env=environment, **pipes) for _ in range(2)]
    outputs = [make.communicate()[0] for make in both]
    assert [make.returncode for make in both] == [0, 0], outputs
    ran = re.findall(r"^(\S+): running", "\n".join(outputs), re.MULTILINE)
    assert sorted(ran) == ["00_good", "01_broken", "18_scoreboard"], outputs


LATE_OUTPUTS = """
import time
kernel = get_ipython().kernel
publish = kernel._publish_status
def late(status, *arguments, **options):
    if status == "idle":
        kernel.iopub_thread.schedule(lambda: time.sleep(6))
        kernel._publish_status = publish
    return publish(status, *arguments, **options)
kernel._publish_status = late
"""


def test_outputs_that_a_busy_machine_delivers_late_are_waited_for(toy_project, monkeypatch):
    monkeypatch.setattr(paths, "project_folder", lambda: toy_project)
    monkeypatch.delenv("PAPERLIB_BUILD", raising=False)
    notebook = toy_project / "notebooks" / "00_good.ipynb"
    write_notebook(notebook, 'profile = "quick"', LATE_OUTPUTS, "print('after')")
    executed = execution.execute(load_catalogue()["00_good"], PROFILES["smoke"])
    assert "after" in executed.read_text()


# --- What makes a notebook out of date --------------------------------------------------------------------------------


class Toy:
    """The toy project's notebook 00_good, executed without a kernel."""

    def __init__(self, project: Path):
        self.project, self.build = project, project / "build"
        self.entry = load_catalogue()["00_good"]

    def execute(self, meanwhile=lambda: None, figure: bytes = b"picture") -> None:
        with pipeline.recorded(self.entry, PROFILES["smoke"]):
            paths.data_reads_file(self.entry.name).write_text("claims/00_good.yaml\nread\nread/file.csv\nabsent\n")
            meanwhile()
            paths.write_atomically(paths.verdicts_file(self.entry.name), "[]")
            paths.write_atomically(self.build / "figures" / "00_good--picture.png", figure)
        paths.write_atomically(paths.executed_notebook(self.entry.name), self.entry.source.read_bytes())

    @property
    def condition(self) -> str:
        return pipeline.condition(self.entry)


@pytest.fixture
def toy(toy_project, monkeypatch) -> Toy:
    monkeypatch.setattr(paths, "project_folder", lambda: toy_project)
    monkeypatch.delenv("PAPERLIB_BUILD", raising=False)
    for name in ("read", "not_read"):
        (toy_project / "data" / name).mkdir()
        (toy_project / "data" / name / "file.csv").write_text("1")
    toy = Toy(toy_project)
    toy.execute()
    assert toy.condition == pipeline.DONE
    assert pipeline.executed_profile(toy.entry) == "smoke"
    return toy


def edit_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].outputs = [v4.new_output("stream", name="stdout", text="another\n")]
    nbformat.write(notebook, path)


CHANGES = {
    "a rule, its date kept": lambda p: change_with_its_date_kept(p / "data" / "claims" / "00_good.yaml", "[]"),
    "a file that was read": lambda p: change_with_its_date_kept(p / "data" / "read" / "file.csv", "2"),
    "a file that was read, removed": lambda p: (p / "data" / "read" / "file.csv").unlink(),
    "a file in a folder that was listed": lambda p: (p / "data" / "read" / "new.csv").write_text("1"),
    "a file that was looked for in vain": lambda p: (p / "data" / "absent").write_text("1"),
    "a module": lambda p: change_with_its_date_kept(p / "paperlib" / "repro" / "checks.py", "pass"),
    "a module, removed": lambda p: (p / "paperlib" / "repro" / "checks.py").unlink(),
    "a module that hides the one it imported": lambda p: (p / "paperlib" / "repro.py").touch(),
    "the lock": lambda p: change_with_its_date_kept(p / "requirements.lock", "numpy==1"),
    "a cell": lambda p: break_notebook(p / "notebooks" / "00_good.ipynb"),
    "a figure": lambda p: (p / "build" / "figures" / "00_good--picture.png").write_bytes(b"other"),
    "a figure, removed": lambda p: (p / "build" / "figures" / "00_good--picture.png").unlink(),
    "the verdicts": lambda p: change_with_its_date_kept(p / "build" / "verdicts" / "00_good.json", "{}"),
    "the verdicts, removed": lambda p: (p / "build" / "verdicts" / "00_good.json").unlink(),
    "the record of the execution": lambda p: (p / "build" / "inputs" / "00_good.json").write_text("{}"),
    "the record of the execution, removed": lambda p: (p / "build" / "inputs" / "00_good.json").unlink(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_notebook_is_out_of_date_once_what_it_read_or_made_has_changed(toy, change):
    change(toy.project)
    assert toy.condition == pipeline.OUT_OF_DATE
    assert not pipeline.is_up_to_date(toy.entry, PROFILES["smoke"])


IRRELEVANT = {
    "a date in the past": lambda p: os.utime(p / "data" / "claims" / "00_good.yaml", (1, 1)),
    "a date in the future": lambda p: os.utime(p / "data" / "claims" / "00_good.yaml", (2**33, 2**33)),
    "a file that was not read": lambda p: (p / "data" / "not_read" / "file.csv").write_text("2"),
    "a file in a folder that was not listed": lambda p: (p / "data" / "not_read" / "new.csv").touch(),
    "a module that it does not import": lambda p: (p / "paperlib" / "repro" / "cli.py").write_text("x = 1"),
    "another notebook's claims": lambda p: (p / "data" / "claims" / "01_broken.yaml").write_text("[]"),
    "a lock file": lambda p: (p / "data" / "read" / "locks").mkdir(),
    "the notebook's outputs, as publishing does": lambda p: edit_outputs(p / "notebooks" / "00_good.ipynb"),
    "a change that was taken back": lambda p: [(p / "requirements.lock").write_text(text) for text in ("x", PINS)],
}
PINS = (ROOT / "requirements.lock").read_text()


@pytest.mark.parametrize("change", IRRELEVANT.values(), ids=IRRELEVANT)
def test_a_notebook_stays_up_to_date_whatever_else_changes(toy, change):
    change(toy.project)
    assert toy.condition == pipeline.DONE


@pytest.mark.parametrize(
    ("suffix", "condition"), [(".failed.ipynb", pipeline.FAILED), (".unfinished.ipynb", pipeline.UNFINISHED)]
)
def test_a_failure_or_an_interruption_beside_a_success_is_not_up_to_date_and_goes_with_the_next_run(
    toy, suffix, condition
):
    (toy.build / "notebooks" / f"00_good{suffix}").touch()
    assert toy.condition == condition
    toy.execute()
    assert toy.condition == pipeline.DONE


def test_an_executed_notebook_that_is_gone_was_never_run(toy):
    paths.executed_notebook("00_good").unlink()
    assert toy.condition == pipeline.NEVER_RUN


def test_an_input_that_changes_while_the_notebook_runs_leaves_it_out_of_date(toy):
    for name in ("claims/00_good.yaml", "read/file.csv"):
        toy.execute()
        assert toy.condition == pipeline.DONE
        toy.execute(meanwhile=lambda name=name: (toy.project / "data" / name).write_text("changed"))
        assert toy.condition == pipeline.OUT_OF_DATE


def test_what_an_earlier_execution_left_goes_before_the_next_one(toy):
    earlier = toy.build / "figures" / "00_good--no_longer_drawn.png"
    others = toy.build / "figures" / "01_broken--picture.png"
    half_written = toy.build / "verdicts" / ".00_good.json.abc"
    for path in (earlier, others, half_written):
        path.touch()
    seen = []
    toy.execute(meanwhile=lambda: seen.extend(pipeline.artefacts()))
    assert seen == [others]
    assert not half_written.exists()
    assert pipeline.artefacts() == [toy.build / "figures" / "00_good--picture.png", others]


def test_the_scoreboard_is_out_of_date_once_a_verdict_has_changed_or_a_notebook_failed(toy):
    toy.entry = load_catalogue()["18_scoreboard"]
    for change in (
        lambda: paths.write_atomically(paths.verdicts_file("00_good"), "[{}]"),
        lambda: paths.write_atomically(paths.failed_notebook("01_broken"), "{}"),
        lambda: paths.verdicts_file("00_good").unlink(),
    ):
        toy.execute()
        assert toy.condition == pipeline.DONE
        change()
        assert toy.condition == pipeline.OUT_OF_DATE


READING = """
import sys, os, glob, multiprocessing
from paperlib.repro import paths
def read_yaml():
    (paths.data_folder() / "notebooks.yaml").read_bytes()
if __name__ == "__main__":
    import pandas
    os.chdir(paths.notebooks_folder())
    open("../data/claims/13_step_size_rules.yaml").close()
    pandas.read_csv(paths.data_folder() / "published" / "{table}")
    os.listdir(paths.data_folder() / "experiments")
    try:
        open(paths.data_folder() / "absent")
    except FileNotFoundError:
        pass
    process = multiprocessing.get_context("spawn").Process(target=read_yaml)
    process.start()
    process.join()
    sys.exit(process.exitcode)
"""


def test_what_is_read_under_data_is_noted_in_workers_too(tmp_path):
    table = min((ROOT / "data" / "published").glob("*.csv")).name
    script, reads = tmp_path / "script.py", tmp_path / "reads"
    script.write_text(READING.replace("{table}", table))
    reads.touch()
    with data_reads.noted_in(reads):
        subprocess.run([sys.executable, script], env=clean_environment(PYTHONPATH=str(ROOT)), check=True)
    expected = {"claims/13_step_size_rules.yaml", f"published/{table}", "experiments", "absent", "notebooks.yaml"}
    assert set(data_reads.noted(reads)) == {f"data/{name}" for name in expected}


def test_records_of_one_experiment_are_read_without_looking_at_the_others(tmp_path, monkeypatch):
    store = RunStore(tmp_path)
    for experiment in ("one", "other"):
        store.save({"experiment": experiment}, {}, provenance={})
    listed, listdir = [], os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: listed.append(path) or listdir(path))
    assert len(list(store.records("one"))) == 1
    assert listed == [tmp_path / "one"]


def test_nbval_fails_on_a_broken_cell_and_on_a_changed_checked_output(tmp_path, rogue_kernel):
    printed = v4.new_output("stream", name="stdout", text="2\n")
    for name, source in {"good": "print(2)", "broken": "print(2)\n1 / 0", "changed": "print(3)"}.items():
        write_notebook(tmp_path / f"{name}.ipynb", "# NBVAL_CHECK_OUTPUT\n" + source)
        notebook = nbformat.read(tmp_path / f"{name}.ipynb", as_version=4)
        notebook.cells[0] |= {"outputs": [printed], "execution_count": 1}
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
    options = nbval_options()
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "-p", "no:randomly", *options, "--rootdir=.", "."]
    environment = clean_environment(**rogue_kernel, PYTHONPATH=str(ROOT))
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    failed = set(re.findall(r"^FAILED (\w+)\.ipynb", done.stdout, re.MULTILINE))
    assert (done.returncode, failed) == (1, {"broken", "changed"}), done.stdout
    assert "1 passed" in done.stdout


def nbval_options() -> list[str]:
    """The options of the Makefile's nbval step, so that this test breaks what CI runs."""
    text = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    (options,) = re.findall(r"pytest (--nbval-lax .*) notebooks$", text, re.MULTILINE)
    return options.replace("tests/nbval_sanitize.cfg", str(ROOT / "tests" / "nbval_sanitize.cfg")).split()


def make_environment(project: Path, *arguments: str, path: str = "/usr/bin:/bin") -> subprocess.CompletedProcess:
    environment = clean_environment(PATH=path)
    return subprocess.run(["make", "env", *arguments], cwd=project, env=environment, capture_output=True, text=True)


def write_script(path: Path, body: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("exit 1", "Python 3.11 or newer, below 3.14, is needed; {python} is not one"),
        ('[[ "$2" == *ensurepip* ]] && exit 1; exit 0', "{python} has no venv module"),
    ],
)
def test_an_unsuitable_python_gets_one_clear_line(toy_project, tmp_path, body, message):
    python = write_script(tmp_path / "python", body)
    done = make_environment(toy_project, f"PYTHON={python}")
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if "***" not in line]
    assert len(lines) == 1 and message.format(python=python) in lines[0]
    assert not (toy_project / ".env").exists()


@pytest.mark.parametrize(
    ("tool", "expected"),
    [
        ("conda", "env create --prefix .env --file environment.yml"),
        ("micromamba", "create --yes --prefix .env --file environment.yml"),
    ],
)
def test_set_up_uses_conda_where_there_is_one_and_happens_once(toy_project, tmp_path, tool, expected):
    log = tmp_path / "log"
    python = write_script(tmp_path / "python", f"echo python $* >> {log}")
    write_script(tmp_path / "bin" / tool, f"echo {tool} $* >> {log}; mkdir -p .env/bin; cp {python} .env/bin/python")
    path = f"{tmp_path / 'bin'}:/usr/bin:/bin"
    assert make_environment(toy_project, path=path).returncode == 0
    install = "python -m pip install --disable-pip-version-check -r requirements.lock -e ."
    assert log.read_text().splitlines() == [f"{tool} {expected}", install]
    assert make_environment(toy_project, path=path).returncode == 0
    assert len(log.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["run", "77_nowhere"], 2), (["run", "--profile", "huge"], 2), ([], 2), (["claims", "--verdict", "maybe"], 2)],
)
def test_wrong_usage_exits_with_2(arguments, code, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    assert exit_.value.code == code
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run", "outdated", "status", "claims", "bench", "publish"])
def test_each_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main([command, "--help"])
    assert exit_.value.code == 0
    assert "usage:" in capsys.readouterr().out


def test_strict_claims_fail_on_a_missing_verdict_only(toy_project, monkeypatch, capsys):
    monkeypatch.setattr("paperlib.repro.paths.project_folder", lambda: toy_project)
    monkeypatch.delenv("PAPERLIB_BUILD", raising=False)
    assert cli.main(["claims"]) == 0
    assert cli.main(["claims", "--strict"]) == 1
    assert "2 claims, 2 of them without the verdict they should have" in capsys.readouterr().out
    for name in ("00_good", "01_broken"):
        (toy_project / "notebooks" / f"{name}.ipynb").unlink()
    assert cli.main(["claims", "--strict"]) == 0


def test_published_outputs_keep_no_trace_of_the_execution():
    injected = v4.new_code_cell("profile = 'quick'")
    injected.metadata["tags"] = ["injected-parameters"]
    cell = v4.new_code_cell("1", execution_count=7)
    cell.metadata = nbformat.from_dict({"papermill": {"duration": 3.2}, "tags": ["keep"]})
    cell.outputs = [
        v4.new_output("stream", name="stderr", text="a warning"),
        v4.new_output("execute_result", data={"text/plain": "1"}, execution_count=7),
    ]
    executed = v4.new_notebook(cells=[injected, cell], metadata={"papermill": {"input_path": "/home/someone"}})
    cleaned = without_execution_traces(executed)
    (kept,) = cleaned.cells
    assert (kept.execution_count, dict(kept.metadata), len(kept.outputs)) == (1, {"tags": ["keep"]}, 1)
    assert "/home" not in nbformat.writes(cleaned) and "papermill" not in nbformat.writes(cleaned)


def test_prints_that_a_busy_kernel_cut_apart_are_published_as_one():
    prints = [v4.new_output("stream", name="stdout", text=text) for text in ("one\n", "two\n", "three\n")]
    warning = v4.new_output("stream", name="stderr", text="a warning\n")
    picture = v4.new_output("display_data", data={"text/plain": "picture"})
    cell = v4.new_code_cell("...", outputs=[prints[0], warning, prints[1], picture, prints[2]])
    published = without_execution_traces(v4.new_notebook(cells=[cell])).cells[0].outputs
    assert [output.get("text") for output in published] == ["one\ntwo\n", None, "three\n"]
