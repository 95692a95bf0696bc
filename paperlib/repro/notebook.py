"""What a notebook calls: its profile, its claims, its figures and tables, its verdicts."""

import os
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from paperlib.repro import figures, paths, tables, verdicts
from paperlib.repro.catalogue import load_catalogue
from paperlib.repro.checks import plain
from paperlib.repro.claims import Claim, claims_of
from paperlib.repro.profiles import Profile, select_profile
from paperlib.repro.verdicts import Verdict

_ARTEFACT_NAME = re.compile(r"[a-z0-9_]+")


class MissingVerdict(RuntimeError):
    """A notebook ended without a verdict on one of its claims."""


def open_notebook(name: str, profile: str) -> "Notebook":
    """Begin a notebook: choose the profile, set the figure style, say both.

    name: file name without suffix, as listed in data/notebooks.yaml.
    profile: the notebook's parameter; the environment variable PAPERLIB_PROFILE wins over it.
    """
    paths.require_this_checkout()
    if not (paths.notebooks_folder() / f"{name}.ipynb").is_file():
        raise ValueError(f"no notebook {name!r}; data/notebooks.yaml has {', '.join(load_catalogue())}")
    executed = os.environ.get("PAPERLIB_NOTEBOOK", name)
    if executed != name:
        raise ValueError(f"{executed} opens itself under the name of {name}: its verdicts would be written as {name}'s")
    notebook = Notebook(name, select_profile(profile))
    figures.set_style()
    print(f"{name}, profile {notebook.profile.name}: {notebook.profile.meaning}")
    return notebook


class Notebook:
    """One run of a notebook. Generated files are named <notebook>--<name>, `name` in lower_snake."""

    def __init__(self, name: str, profile: Profile):
        self.name = name
        self.profile = profile
        self._claims = claims_of(name)
        self._verdicts: dict[str, Verdict] = {}

    def show_claims(self) -> None:
        """Display how many claims this notebook checks; unfolded, each with the rule that decides it."""
        rows = [
            {
                "claim": claim.id,
                "where": claim.where,
                "statement": claim.statement,
                "measured": claim.rule.measure,
                "holds if": claim.rule.words,
            }
            for claim in self._claims.values()
        ]
        table = pd.DataFrame(rows, columns=["claim", "where", "statement", "measured", "holds if"])
        tables.show_folded(table, f"{_number(len(rows), 'claim')} this notebook checks, and the rules that decide them")

    def save_figure(self, figure: Figure, name: str, alt: str = "") -> Path:
        """Display the figure and write it as PNG and PDF, at profile smoke as PNG alone; returns the path of the PNG.

        alt: what it shows, in a sentence, for a reader who cannot see it.
        """
        figures.show(figure, alt)
        vector = self.profile.name != "smoke"
        return figures.save(figure, paths.figures_folder(), self._stem(name), vector=vector)

    def save_table(self, table: pd.DataFrame, name: str) -> Path:
        """Write the table as CSV, without its index and with numbers exact; returns the path."""
        path = paths.tables_folder() / f"{self._stem(name)}.csv"
        paths.write_atomically(path, table.to_csv(index=False))
        return path

    def show_table(self, table: pd.DataFrame, caption: str = "") -> None:
        """Display a table as the cell's output."""
        tables.show(table, caption)

    def verdict(
        self,
        claim_id: str,
        measured: Any = None,
        *,
        artefact: str | Path,
        corrected: Any = None,
        broken: Any = (),
    ) -> str:
        """Compute, record and return the verdict on one claim of this notebook by its rule in the ledger.

        measured: a number, {case: number} where every case must pass, or the mapping the check takes; numpy and torch
            scalars are numbers too. Left out where the paper prints nothing to check.
        artefact: the file that shows it, as returned by save_figure or save_table, or a path in the build folder or
            the project; FileNotFoundError if it does not exist.
        corrected: what was measured for the claim's correction; needed exactly if it has one.
        broken: the same measure with a formula made wrong on purpose, or a list of such; the check that the verdict
            rests on (the correction's where there is one) must fail for each, BlindCheck if it does not.
        """
        claim = self._claim(claim_id)
        mistakes = tuple(broken) if isinstance(broken, list | tuple) else (broken,)
        for mistake in mistakes:
            verdicts.require_failure(claim, mistake)
        where = verdicts.artefact_path(artefact)
        decided = verdicts.decide(claim, measured, corrected, where, self.profile.name)
        return self._record(replace(decided, broken=tuple(map(plain, mistakes))))

    def verdict_from_parts(self, claim_id: str, *, artefact: str | Path) -> str:
        """The verdict on a claim that follows from its parts: the claims whose ids begin with the rule's `parts`.

        A correction is decided by the same count. MissingVerdict if a part has no verdict yet.
        """
        beginning = self._claim(claim_id).rule.parameters["parts"] + "."
        parts = [part for part in self._claims if part.startswith(beginning)]
        if missing := [part for part in parts if part not in self._verdicts]:
            raise MissingVerdict(f"{claim_id} follows from its parts; {', '.join(missing)} have no verdict yet")
        count = verdicts.count_parts(self._verdicts[part] for part in parts)
        corrected = {} if self._claim(claim_id).correction is None else {"corrected": count}
        return self.verdict(claim_id, count, artefact=artefact, **corrected)

    def not_run(self, claim_id: str, *, reason: str) -> str:
        """Record that this profile does not decide the claim, and what it would take."""
        return self._record(verdicts.not_run(self._claim(claim_id), reason, self.profile.name))

    def _record(self, decided: Verdict) -> str:
        earlier = self._verdicts.get(decided.claim)
        if earlier is not None and earlier.verdict != decided.verdict:
            raise ValueError(
                f"{decided.claim} already reads {earlier.verdict!r} and would now read {decided.verdict!r}: "
                "a claim is decided once; open the notebook anew to decide it again"
            )
        self._verdicts[decided.claim] = decided
        return decided.verdict

    def finish(self) -> None:
        """Write the verdicts and display how many there are of each; unfolded, each with what was measured.

        MissingVerdict if a claim of this notebook has none.
        """
        recorded = [self._verdicts[claim_id] for claim_id in self._claims if claim_id in self._verdicts]
        verdicts.write_verdicts(self.name, recorded)
        if recorded:
            words = Counter(verdict.verdict for verdict in recorded)
            counts = "; ".join(f"{word}: {words[word]}" for word in verdicts.VERDICTS if words[word])
            table = pd.DataFrame([self._summary(verdict) for verdict in recorded])
            tables.show_folded(table, f"{_number(len(recorded), 'verdict')}. {counts}")
        if missing := [claim_id for claim_id in self._claims if claim_id not in self._verdicts]:
            raise MissingVerdict(f"{self.name} has no verdict on {', '.join(missing)}")

    def _summary(self, verdict: Verdict) -> dict[str, str]:
        claim = self._claims[verdict.claim]
        return {
            "claim": claim.id,
            "verdict": verdict.verdict,
            "printed": verdicts.printed_in_words(claim.rule, verdict.measured),
            "measured": verdicts.in_words(verdict, claim),
            "holds if": claim.rule.words,
            "a wrong formula gives": verdicts.broken_in_words(verdict, claim),
            "detail": verdict.detail,
        }

    def _claim(self, claim_id: str) -> Claim:
        if claim_id not in self._claims:
            raise ValueError(f"{claim_id!r} is no claim of {self.name}; it has {', '.join(self._claims) or 'none'}")
        return self._claims[claim_id]

    def _stem(self, name: str) -> str:
        if not _ARTEFACT_NAME.fullmatch(name):
            raise ValueError(f"name a figure or table in lower_snake letters and digits, not {name!r}")
        return f"{self.name}--{name}"


def _number(count: int, word: str) -> str:
    return f"{count} {word}" + ("" if count == 1 else "s")
