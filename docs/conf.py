"""Sphinx's settings for the book; `make book` assembles the sources and builds it."""

project = "Smooth critics and Lipschitz policy gradients: an executable replication"
html_title = "Smooth critics, Lipschitz policies"
author = ""
copyright = "MIT licence"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",  # MathJax from the package, so that no page asks another host
]
root_doc = "index"
exclude_patterns: list[str] = []
nb_execution_mode = "off"  # the notebooks are shown as committed
nb_merge_streams = True
myst_enable_extensions = ["amsmath", "dollarmath", "colon_fence", "attrs_inline"]
myst_dmath_double_inline = True
myst_heading_anchors = 3
suppress_warnings = ["myst.header", "mystnb.unknown_mime_type"]
autodoc_typehints = "description"
autodoc_member_order = "bysource"

html_theme = "sphinx_book_theme"
html_static_path = ["static"]
html_css_files = ["book.css"]
html_js_files = ["claims.js", "step_sizes.js", "explorers.js"]
html_theme_options = {
    "home_page_in_toc": True,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_copy_source = False
html_show_sphinx = False
html_context = {"default_mode": "auto"}


def setup(app):
    """Docstrings are plain text with `code` in single backticks; what else reStructuredText would read is escaped."""
    app.connect("autodoc-process-docstring", _as_plain_text)


def _as_plain_text(app, what, name, obj, options, lines):
    if any(line.lstrip().startswith(">>>") for line in lines):
        return
    for i, line in enumerate(lines):
        parts = line.strip().replace("\\", "\\\\").split("`")
        for k in range(0, len(parts), 2):
            for mark in "|*_":
                parts[k] = parts[k].replace(mark, "\\" + mark)
        lines[i] = "``".join(parts)
