"""The claims ledger: every claim of both papers with the rule that decides it, fixed before any run.

A file per notebook, data/claims/<notebook>.yaml; data/README.md says what an entry holds.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from paperlib.repro import catalogue, paths
from paperlib.repro.checks import CHECKS, invalid_parameters

PAPERS = {"pave": "pave", "lipschitz": "lip", "ours": "ours"}
"""The papers, each with the first word of its claims' ids; `ours` are statements of this project's own."""
THEORY, RUNS, PRINTED, IDENTITY = "theory checked", "our runs", "printed arithmetic", "identities and settings"
BASES = (THEORY, RUNS, PRINTED, IDENTITY)
"""What a verdict rests on. The last two are counted apart: nothing that was run could contradict them."""
KINDS = {
    "definition": THEORY,
    "theorem": THEORY,
    "formula": THEORY,
    "procedure": THEORY,
    "number": RUNS,
    "figure": RUNS,
    "comparison": RUNS,
    "printed": PRINTED,
    "identity": IDENTITY,
}
"""Kinds of claims, each with what its verdict rests on: `printed` is arithmetic on a paper's own tables, `identity`
what no computation could contradict (an algebraic identity, a setting, an example made for the purpose)."""
_ID = re.compile(rf"({'|'.join(PAPERS.values())})(\.[a-z0-9_]+)+")
_CLAIM_KEYS = {"id", "paper", "where", "statement", "kind", "rule"}
_TEXT_KEYS = ("paper", "where", "statement", "kind")


class LedgerError(ValueError):
    """The ledger breaks its schema; the message names file, line and claim."""


@dataclass(frozen=True)
class Rule:
    """What is measured, and the check with its parameters."""

    measure: str
    check: str
    parameters: Mapping[str, Any]

    @property
    def content(self) -> list:
        """All of the rule, as JSON takes it."""
        return [self.measure, self.check, dict(self.parameters)]

    @property
    def words(self) -> str:
        """The rule as a reader sees it, without what is measured."""
        return CHECKS[self.check].words(self.parameters)


@dataclass(frozen=True)
class Correction:
    """A corrected statement, with the rule that decides it.

    An exception is a correction that leaves out what was seen to fail; a correction proper states something else, which
    could have failed.
    """

    statement: str
    rule: Rule
    exception: bool = False


@dataclass(frozen=True)
class Claim:
    """One entry of the ledger."""

    id: str
    paper: str
    where: str
    statement: str
    kind: str
    notebook: str
    rule: Rule
    correction: Correction | None

    @property
    def basis(self) -> str:
        """What its verdict rests on: one of BASES."""
        return KINDS[self.kind]

    @cached_property
    def fingerprint(self) -> str:
        """Changes with what is stated and with the rule: a verdict on another statement or by another rule is out of
        date. Where the statement is printed does not matter to it.
        """
        stated: list[Any] = [self.statement, self.rule.content]
        if self.correction is not None:
            stated += [self.correction.statement, self.correction.rule.content, self.correction.exception]
        return hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()[:16]


def load_claims() -> dict[str, Claim]:
    """The whole ledger by claim id, notebook by notebook; LedgerError if it is not sound."""
    claims: dict[str, Claim] = {}
    for path in _files():
        for claim in claims_of(path.stem).values():
            if claim.id in claims:
                other = claims[claim.id].notebook
                raise LedgerError(f"{path.name}, {claim.id}: this id is already used in {other}.yaml")
            claims[claim.id] = claim
    return claims


def claims_of(notebook: str) -> dict[str, Claim]:
    """The claims that one notebook checks, by id, in their file's order; empty if it has no file."""
    path, claims = paths.claims_file(notebook), {}
    if not path.is_file():
        return {}
    for entry, line in _entries(path):
        name = entry.get("id", "claim without id") if isinstance(entry, dict) else "entry"
        try:
            claim = _claim(entry, notebook)
        except LedgerError as error:
            raise LedgerError(f"{path.name}, line {line}, {name}: {error}") from None
        if claim.id in claims:
            raise LedgerError(f"{path.name}, line {line}, {name}: this id is already used")
        claims[claim.id] = claim
    return claims


def _files() -> list[Path]:
    """The files of the ledger in the notebooks' order; LedgerError for one that is named after no notebook."""
    notebooks = catalogue.load_catalogue()
    found = {path.stem: path for path in paths.claims_folder().glob("*.yaml")}
    if strangers := sorted(found.keys() - notebooks.keys()):
        raise LedgerError(f"{strangers[0]}.yaml: no notebook of that name in data/notebooks.yaml")
    return [found[name] for name in notebooks if name in found]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # whichever PyYAML was built with
    """A YAML loader that refuses a key given twice, where plain YAML silently keeps the last."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise LedgerError(f"line {node.start_mark.line + 1}: {', '.join(twice)} given twice")
        return super().construct_mapping(node, deep=deep)


def _entries(path: Path) -> list[tuple[Any, int]]:
    """The list items of the ledger, each with its line."""
    loader = _Loader(path.read_text(encoding="utf-8"))
    try:
        node = loader.get_single_node()
        if node is None or not isinstance(node, yaml.SequenceNode):
            raise LedgerError(f"{path.name}: must be a list of claims")
        lines = [item.start_mark.line + 1 for item in node.value]
        return list(zip(loader.construct_document(node), lines, strict=True))
    except yaml.YAMLError as error:
        raise LedgerError(f"{path.name}: not valid YAML: {error}") from None
    finally:
        loader.dispose()


def _claim(entry: Any, notebook: str) -> Claim:
    if not isinstance(entry, dict):
        raise LedgerError(f"must be a mapping, is {entry!r}")
    _require_keys(entry, _CLAIM_KEYS, {"correction"})
    if not isinstance(entry["id"], str) or not _ID.fullmatch(entry["id"]):
        raise LedgerError("id must be pave. or lip. and dotted lower_snake words")
    for key in _TEXT_KEYS:
        if not isinstance(entry[key], str) or not entry[key].strip():
            raise LedgerError(f"{key} must be a text, is {entry[key]!r}")
    _require_choice("paper", entry["paper"], PAPERS)
    _require_choice("kind", entry["kind"], KINDS)
    if not entry["id"].startswith(PAPERS[entry["paper"]] + "."):
        raise LedgerError(f"a claim of paper {entry['paper']} starts with {PAPERS[entry['paper']]}.")
    texts = {key: entry[key].strip() for key in _TEXT_KEYS}
    rule = _rule(entry["rule"], "rule")
    return Claim(entry["id"], **texts, notebook=notebook, rule=rule, correction=_correction(entry.get("correction")))


def _correction(entry: Any) -> Correction | None:
    if entry is None:
        return None
    if not isinstance(entry, dict) or not isinstance(entry.get("statement"), str):
        raise LedgerError("correction must be a mapping with a statement")
    rule = {key: value for key, value in entry.items() if key not in ("statement", "exception")}
    if not isinstance(exception := entry.get("exception", False), bool):
        raise LedgerError(f"correction: exception must be true or false, is {exception!r}")
    return Correction(entry["statement"].strip(), _rule(rule, "correction"), exception)


def _rule(entry: Any, name: str) -> Rule:
    if not isinstance(entry, dict):
        raise LedgerError(f"{name} must be a mapping, is {entry!r}")
    parameters = {key: value for key, value in entry.items() if key not in ("measure", "check")}
    if not isinstance(entry.get("measure"), str) or not entry["measure"].strip():
        raise LedgerError(f"{name} lacks measure: what number the notebook hands over")
    if problem := invalid_parameters(str(entry.get("check")), parameters):
        raise LedgerError(f"{name}: {problem}")
    return Rule(entry["measure"].strip(), entry["check"], parameters)


def _require_keys(entry: Mapping[str, Any], required: set[str], optional: set[str]) -> None:
    if missing := sorted(required - entry.keys()):
        raise LedgerError(f"lacks {', '.join(missing)}")
    if unknown := sorted(entry.keys() - required - optional):
        raise LedgerError(f"unknown key {', '.join(unknown)}")


def _require_choice(key: str, value: str, choices: Any) -> None:
    if value not in choices:
        raise LedgerError(f"unknown {key} {value!r}; one of {', '.join(choices)}")
