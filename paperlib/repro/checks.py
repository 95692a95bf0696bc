"""Decision rules: whether a measured value passes the check a claim names in the ledger.

A check judges one case at a time; a mapping of case names to measured values is judged case by case. Its outcome is
"passes", "fails", "undecided" where it was measured and the interval does not settle it, or "not run" where a case was
not measured or too few were.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

Parameters = Mapping[str, Any]

PASSES, FAILS, UNDECIDED, NOT_RUN = "passes", "fails", "undecided", "not run"
RESULTS = (PASSES, FAILS, UNDECIDED, NOT_RUN)
_NORMAL_QUANTILE = 1.959963984540054  # of 95 % two-sided intervals


@dataclass(frozen=True)
class Outcome:
    """What a check says: `result` is one of RESULTS; `detail` says which cases decided it."""

    result: str
    detail: str = ""


@dataclass(frozen=True)
class Check:
    """One decision rule.

    `required` and `optional` are its parameters in the ledger; `fields` the keys of one measured case, empty where a
    case is a plain number; `judge(measured, parameters)` gives one case's result; `words(parameters)` reads the rule;
    `margin(measured, parameters)` is how far one case is on the passing side, to tell the worst case.
    """

    required: frozenset[str]
    optional: frozenset[str]
    fields: tuple[str, ...]
    judge: Callable[[Any, Parameters], str]
    words: Callable[[Parameters], str]
    margin: Callable[[Any, Parameters], float]


def _result(passes: bool) -> str:
    return PASSES if passes else FAILS


def _room(margin: float, scale: float) -> float:
    """A margin as a share of what it is a margin to, so that cases with values of their own compare."""
    return margin / (abs(scale) or 1.0)


def _equals_printed(measured: float, rule: Parameters) -> str:
    return _result(abs(measured - rule["printed"]) <= _allowed(rule))


def _allowed(rule: Parameters) -> float:
    return max(rule.get("relative_tolerance", 0.0) * abs(rule["printed"]), rule.get("absolute_tolerance", 0.0))


def _no_failures(measured: Parameters, rule: Parameters) -> str:
    if measured["failures"] > 0:
        return FAILS
    return PASSES if measured["cases"] >= rule["minimum_cases"] else NOT_RUN


def _interval_against(measured: Parameters, low: float, high: float) -> str:
    """Where a whole interval lies: inside [low, high], outside, or across an end."""
    if low <= measured["low"] and measured["high"] <= high:
        return PASSES
    return FAILS if measured["high"] < low or measured["low"] > high else UNDECIDED


def _mean_agrees(measured: Parameters, rule: Parameters) -> str:
    """Equivalence: the 95 % interval of our mean minus the printed one lies within the tolerance, or outside it."""
    margin = rule["relative_tolerance"] * abs(measured.get("scale", measured["printed"]))
    return _interval_against(_difference(measured), -margin, margin)


def _difference(measured: Parameters) -> dict[str, float]:
    """The 95 % interval of our mean minus the printed one: both have errors, and those add in quadrature."""
    difference, error = measured["mean"] - measured["printed"], _NORMAL_QUANTILE * measured["printed_error"]
    return {
        "low": difference - math.hypot(measured["mean"] - measured["low"], error),
        "high": difference + math.hypot(measured["high"] - measured["mean"], error),
    }


def _ordering(measured: Parameters, rule: Parameters) -> str:
    if not 0 <= measured["low"] <= measured["high"] <= 1:
        raise ValueError(f"a probability and its interval lie in [0, 1], are {dict(measured)}")
    if measured["low"] <= 0.5 <= measured["high"]:
        return UNDECIDED
    return _result(measured["low"] > 0.5)


def _parts_hold(measured: Parameters, rule: Parameters) -> str:
    if measured["hold"] >= rule["minimum"]:
        return PASSES
    if measured["hold"] + measured["undecided"] + measured["not_run"] < rule["minimum"]:
        return FAILS
    return NOT_RUN if measured["not_run"] else UNDECIDED


def _tolerance_words(rule: Parameters) -> str:
    relative, absolute = rule.get("relative_tolerance"), rule.get("absolute_tolerance")
    parts = [f"{100 * relative:g} %"] if relative is not None else []
    parts += [f"{absolute:g}"] if absolute is not None else []
    return f", within {' or '.join(parts)}" if parts else " exactly"


def _printed_words(rule: Parameters) -> str:
    printed = rule["printed"]
    return "the printed values" if isinstance(printed, Mapping) else f"the printed {printed:g}"


def _share_words(rule: Parameters) -> str:
    share = rule.get("share")
    return "" if share is None else f", in at least {100 * share:g} % of the cells"


def _bound_words(direction: str) -> Callable[[Parameters], str]:
    def words(rule: Parameters) -> str:
        bound = rule["threshold"]
        return f"{direction} " + ("each case's threshold" if isinstance(bound, Mapping) else f"{bound:g}")

    return words


CHECKS: dict[str, Check] = {
    "at_most": Check(
        frozenset({"threshold"}),
        frozenset({"share"}),
        (),
        lambda measured, rule: _result(measured <= rule["threshold"]),
        lambda rule: _bound_words("at most")(rule) + _share_words(rule),
        lambda measured, rule: _room(rule["threshold"] - measured, rule["threshold"]),
    ),
    "at_least": Check(
        frozenset({"threshold"}),
        frozenset({"share"}),
        (),
        lambda measured, rule: _result(measured >= rule["threshold"]),
        lambda rule: _bound_words("at least")(rule) + _share_words(rule),
        lambda measured, rule: _room(measured - rule["threshold"], rule["threshold"]),
    ),
    "within": Check(
        frozenset({"low", "high"}),
        frozenset({"share"}),
        (),
        lambda measured, rule: _result(rule["low"] <= measured <= rule["high"]),
        lambda rule: f"between {rule['low']:g} and {rule['high']:g}" + _share_words(rule),
        lambda measured, rule: min(measured - rule["low"], rule["high"] - measured),
    ),
    "equals_printed": Check(
        frozenset({"printed"}),
        frozenset({"relative_tolerance", "absolute_tolerance"}),
        (),
        _equals_printed,
        lambda rule: f"equals {_printed_words(rule)}{_tolerance_words(rule)}",
        lambda measured, rule: _room(_allowed(rule) - abs(measured - rule["printed"]), rule["printed"]),
    ),
    "no_failures": Check(
        frozenset({"minimum_cases"}),
        frozenset(),
        ("cases", "failures"),
        _no_failures,
        lambda rule: f"no failure in at least {rule['minimum_cases']:g} cases",
        lambda measured, rule: -measured["failures"],
    ),
    "interval_at_least": Check(
        frozenset({"threshold"}),
        frozenset(),
        ("mean", "low", "high"),
        lambda measured, rule: _interval_against(measured, rule["threshold"], math.inf),
        lambda rule: "the whole 95 % interval " + _bound_words("at least")(rule),
        lambda measured, rule: _room(measured["low"] - rule["threshold"], rule["threshold"]),
    ),
    "interval_at_most": Check(
        frozenset({"threshold"}),
        frozenset(),
        ("mean", "low", "high"),
        lambda measured, rule: _interval_against(measured, -math.inf, rule["threshold"]),
        lambda rule: "the whole 95 % interval " + _bound_words("at most")(rule),
        lambda measured, rule: _room(rule["threshold"] - measured["high"], rule["threshold"]),
    ),
    "mean_agrees": Check(
        frozenset({"relative_tolerance"}),
        frozenset({"share"}),
        ("mean", "low", "high", "printed", "printed_error"),
        _mean_agrees,
        lambda rule: (
            "the whole 95 % interval of our mean minus the printed one, both with their errors, within "
            f"{100 * rule['relative_tolerance']:g} %" + _share_words(rule)
        ),
        lambda measured, rule: _room(
            -max(map(abs, _difference(measured).values())), measured.get("scale", measured["printed"])
        ),
    ),
    "ordering": Check(
        frozenset(),
        frozenset({"share"}),
        ("probability", "low", "high"),
        _ordering,
        lambda rule: "probability of improvement above 0.5 with its whole 95 % interval" + _share_words(rule),
        lambda measured, rule: measured["low"] - 0.5,
    ),
    "parts_hold": Check(
        frozenset({"parts", "minimum"}),
        frozenset(),
        ("hold", "fail", "undecided", "not_run"),
        _parts_hold,
        lambda rule: f"at least {rule['minimum']:g} of the claims {rule['parts']}.* hold",
        lambda measured, rule: measured["hold"] - rule["minimum"],
    ),
    "not_printed": Check(
        frozenset({"reason"}),
        frozenset(),
        (),
        lambda measured, rule: NOT_RUN,
        lambda rule: f"cannot be checked: {rule['reason']}",
        lambda measured, rule: math.nan,
    ),
}


_TEXTS = {"reason": "say why", "parts": "be the beginning of the parts' ids"}
"""Parameters that are no numbers, and what they must do."""


def invalid_parameters(name: str, parameters: Parameters) -> str | None:
    """What is wrong with the `parameters` of check `name` in the ledger, or None."""
    if name not in CHECKS:
        return f"unknown check {name!r}; one of {', '.join(CHECKS)}"
    check = CHECKS[name]
    if missing := sorted(check.required - parameters.keys()):
        return f"check {name} lacks {', '.join(missing)}"
    if unknown := sorted(parameters.keys() - check.required - check.optional):
        return f"check {name} does not take {', '.join(unknown)}"
    for key, value in parameters.items():
        if key in _TEXTS:
            if not isinstance(value, str) or not value.strip():
                return f"{key} must {_TEXTS[key]}"
        elif not all(_is_finite(number) for number in _numbers(value)):
            return f"{key} must be a finite number, or a mapping of case names to finite numbers, is {value!r}"
    if not 0 < parameters.get("share", 1.0) <= 1:
        return f"share must lie in (0, 1], is {parameters['share']!r}"
    return None


def plain(measured: Any) -> Any:
    """`measured` as plain int, float, None or dict of these, as JSON needs it; ValueError for anything else or NaN."""
    if isinstance(measured, Mapping):
        return {str(key): plain(value) for key, value in measured.items()}
    if measured is None:
        return None
    value = measured.item() if hasattr(measured, "item") else measured
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(f"a measured value must be a number, is {measured!r}")
    if not math.isfinite(value):
        raise ValueError(f"a measured value must be finite, is {value!r}; record why with not_run, or count a failure")
    return int(value) if isinstance(value, int) else float(value)


def judge(name: str, parameters: Parameters, measured: Any) -> Outcome:
    """Outcome of check `name` for a measured value, or for a mapping of cases (None: the case was not run).

    All cases must pass, or the `share` of them the rule names; a case that the rule names and that was not measured was
    not run. ValueError where `measured` does not fit the check.
    """
    check = CHECKS[name]
    if name == "not_printed":
        return Outcome(NOT_RUN, parameters["reason"])
    if not _is_case_mapping(check, measured):
        return Outcome(_judge_case(check, parameters, measured, None))
    if not measured:
        raise ValueError("no case was measured")
    cases = dict.fromkeys(_named_cases(parameters)) | dict(measured)
    results = {case: _judge_case(check, parameters, value, case) for case, value in cases.items()}
    return _combine(results, parameters.get("share", 1.0))


def worst_case(name: str, parameters: Parameters, measured: Mapping[str, Any]) -> str | None:
    """The case that passes check `name` by least, or misses it by most; None if no case was measured."""
    check = CHECKS[name]
    margins = {
        case: check.margin(value, _parameters_of_case(parameters, case))
        for case, value in measured.items()
        if value is not None
    }
    return min(margins, key=margins.__getitem__) if margins else None


def _named_cases(parameters: Parameters) -> list[str]:
    """The cases that a rule has values of their own for."""
    return [case for value in parameters.values() if isinstance(value, Mapping) for case in value]


def _is_case_mapping(check: Check, measured: Any) -> bool:
    return isinstance(measured, Mapping) and not (check.fields and set(check.fields) <= measured.keys())


def _judge_case(check: Check, parameters: Parameters, measured: Any, case: str | None) -> str:
    where = f" of case {case!r}" if case is not None else ""
    if measured is None:
        if case is None:
            raise ValueError("nothing was measured; use not_run to say why")
        return NOT_RUN
    if check.fields:
        if not isinstance(measured, Mapping) or not set(check.fields) <= measured.keys():
            raise ValueError(f"measured value{where} must have {', '.join(check.fields)}, is {measured!r}")
        _require_ordered_interval(measured, where)
    elif isinstance(measured, Mapping):
        raise ValueError(f"measured value{where} must be a number, is {measured!r}")
    return check.judge(measured, _parameters_of_case(parameters, case))


def _parameters_of_case(parameters: Parameters, case: str | None) -> Parameters:
    """The rule for one case: parameters given case by case are looked up."""
    chosen = {}
    for key, value in parameters.items():
        if isinstance(value, Mapping):
            if case not in value:
                raise ValueError(f"the rule's {key} has no case {case!r}; it has {', '.join(value)}")
            value = value[case]
        chosen[key] = value
    return chosen


def _require_ordered_interval(measured: Parameters, where: str) -> None:
    for centre in ("mean", "probability"):
        rounding = 1e-9 * abs(measured.get(centre, 0.0))
        if centre in measured and not measured["low"] - rounding <= measured[centre] <= measured["high"] + rounding:
            raise ValueError(f"measured value{where} has its {centre} outside its interval: {dict(measured)}")


def _combine(results: Mapping[str, str], share: float) -> Outcome:
    cases = {result: [case for case, r in results.items() if r == result] for result in RESULTS}
    needed = math.ceil(share * len(results) - 1e-9)
    if len(cases[PASSES]) >= needed:
        result = PASSES
    elif len(results) - len(cases[FAILS]) < needed:
        result = FAILS
    else:
        result = NOT_RUN if cases[NOT_RUN] else UNDECIDED
    parts = [f"{len(cases[PASSES])} of {len(results)} cases pass"]
    parts += [f"{result}: {', '.join(cases[result])}" for result in RESULTS[1:] if cases[result]]
    return Outcome(result, "; ".join(parts))


def _numbers(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, Mapping) else [value]


def _is_finite(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
