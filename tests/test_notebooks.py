"""What every committed notebook has: parameters, short cells, outputs without errors, a picture."""

import ast
import re
from pathlib import Path

import nbformat
import pytest

from paperlib.repro import catalogue

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code" and cell.source.strip()]


def calls(path: Path, method: str) -> list[ast.Call]:
    """The calls of a method in all code cells."""
    nodes = [node for cell in code_cells(path) for node in ast.walk(ast.parse(cell.source))]
    found = [node for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    return [call for call in found if call.func.attr == method]


def links(path: Path) -> list[str]:
    """The targets of links in all Markdown cells that are neither on the web nor in the notebook itself."""
    cells = nbformat.read(path, as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    return [target.partition("#")[0] for target in targets if not target.startswith("#")]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestNotebook:
    def test_is_listed(self, path):
        assert path.stem in catalogue.load_catalogue()

    def test_begins_with_the_profile_parameter(self, path):
        first = code_cells(path)[0]
        assert "parameters" in first.metadata.get("tags", [])
        assert first.source.startswith('profile = "quick"')

    def test_opens_itself_and_finishes(self, path):
        source = "\n".join(cell.source for cell in code_cells(path))
        assert f'repro.open_notebook("{path.stem}", profile)' in source
        assert ".finish()" in source

    def test_has_no_cell_longer_than_a_screen(self, path):
        assert max(len(cell.source.splitlines()) for cell in code_cells(path)) <= 40

    def test_is_committed_with_outputs_and_without_errors(self, path):
        outputs = [output for cell in code_cells(path) for output in cell.outputs]
        assert outputs
        assert not [output for output in outputs if output.output_type == "error"]

    def test_shows_no_path_of_the_machine_it_was_executed_on(self, path):
        shown = []
        for output in (output for cell in code_cells(path) for output in cell.outputs):
            shown.append(output.get("text", ""))
            shown += [text for kind, text in output.get("data", {}).items() if kind.startswith("text/")]
        absolute = re.compile(r"(Posix|Windows)Path|/(home|root|tmp|Users)/|/(build|paperlib|notebooks)/")
        assert [text for text in shown if absolute.search(text)] == []

    def test_shows_a_picture(self, path):
        outputs = [output for cell in code_cells(path) for output in cell.outputs]
        assert any("image/png" in output.get("data", {}) for output in outputs)

    def test_says_in_words_what_each_figure_shows(self, path):
        figures = calls(path, "save_figure")
        alts = [keyword.value for call in figures for keyword in call.keywords if keyword.arg == "alt"]
        assert len(alts) == len(figures)
        assert [ast.unparse(alt) for alt in alts if isinstance(alt, ast.Constant) and len(alt.value.split()) < 5] == []

    def test_links_lead_to_files(self, path):
        assert [target for target in links(path) if not (path.parent / target).is_file()] == []
