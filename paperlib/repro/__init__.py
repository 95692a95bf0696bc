"""Claims ledger, run store, profiles, statistics, figures and the command line; knows neither paper."""

from paperlib.repro import data_reads

__all__ = ["open_notebook"]

data_reads.note_from_here()


def __getattr__(name: str):
    """`open_notebook` is imported on first use: the run store must not wait for the plotting libraries."""
    if name == "open_notebook":
        from paperlib.repro.notebook import open_notebook

        return open_notebook
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
