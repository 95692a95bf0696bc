"""One colour per method, the same in every figure that compares methods."""

from paperlib.repro.figures import colours

METHOD_COLOURS = colours(["Base", "CAPS", "GRAD", "ASAP", "PAVE"])
