"""The check of a network in words and tables."""

from orbitlens.report._notation import element_label, figure, finite
from orbitlens.report._readings import Headline, network_input, part
from orbitlens.report._table import Cell, Column, Heading, Record, Row, Span, Table
from orbitlens.report.network._parts import Mark

_MEAN = Column("mean", "Mean", "Mean error over the inputs, of one call")
_LARGEST = Column("largest", "Largest", "Error of the input with the largest one")
_OWN = (
    _MEAN,
    Column("low", "10%", "Error that a tenth of the inputs stay below"),
    Column("high", "90%", "Error that nine tenths of the inputs stay below"),
    _LARGEST,
)
_EXPECTED = (
    Column("expected", "Error", "Error of the mean of the function over its random numbers"),
    Column("hidden", "Hidden", "Error that the random numbers can hide, with as many inputs"),
)
_WRONG = (_MEAN, _LARGEST)
_MOST, _FAR = 1000, 10  # times the error: how far a wrong group is from it
_BETTER, _LEAST = 2, 1e-12  # times the error of a wrong group that fits better than the right one
_WRONG_GROUPS = ("shuffled", "other", "inverse")
_CONSTANT_STEPS = 16  # of the number format, that outputs with a spread differ by
_DOTS = "Dots are means over the inputs, lines the middle 80% of these."
_DOTS_OF_RANDOM = (
    "The function draws random numbers. Eight calls tell the error of its mean over these. Dots "
    "are this error, or the one that the random numbers can hide where that is larger."
)
_UNSEEN = ("expectation", "unclear")
_WORDS = {
    "constant": ("Not told", "all inputs get the same output"),
    "exact": ("Yes", "up to rounding"),
    "expectation": ("Yes, on average", "as far as the random numbers let one see"),
    "unclear": ("Unclear", "rounding hides it"),
    "nearly": ("Nearly", "the error is at most a tenth of the wrong one"),
    "partly": ("In part", "the error is at most half of the wrong one"),
    "none": ("No", "a wrong target fits as well or better"),
}


def title(record: Record) -> str:
    """Name the network, its layer and the group."""
    model, check = part(record, "model"), part(record, "check")
    layer = f"layer {model['layer']} of " if model.get("layer") else ""
    name = model.get("name") or "a network"
    kind = "invariant" if check.get("output") in (None, "invariant") else "equivariant"
    return f"Is {layer}{name} {kind} under {check.get('group') or 'the group'}?"


def given(record: Record) -> str:
    """Say what was given to the network; empty if it is not known."""
    inputs = part(record, "inputs")
    if not inputs.get("n"):
        return ""
    of = f" of {inputs['name']}" if inputs.get("name") else ""
    return " ".join([f"On {figure(inputs['n'])} inputs{of}.", *network_input(inputs)])


def headlines(check: Record) -> list[Headline]:
    """Return the headlines: the verdict, the error, and those of the wrong groups."""
    lines = []
    if check.get("verdict"):
        verdict = str(check["verdict"])
        word, context = _WORDS.get(verdict, (verdict, ""))
        if verdict == "unclear" and check.get("resolution"):
            context = "the random numbers of the function hide it"
        if verdict == "constant" and check.get("number_format"):
            steps = f"{_CONSTANT_STEPS} steps of {check['number_format']}"
            context = f"the spread of the outputs is below {steps}"
        lines.append(Headline(f"A symmetry under {check.get('group')}?", word, context))
    if check.get("error") is not None:
        lines.append(_error(check))
    for wrong in part(check, "wrong_groups").values():
        if wrong and wrong.get("error") is not None:
            name, context = f"With {wrong.get('name')}", _beside(check, wrong)
            lines.append(Headline(name, figure(wrong["error"]), context))
    if noise := finite(check.get("noise")):
        lines.append(Headline("The same input twice", figure(noise), "the random numbers alone"))
    return lines


def _error(check: Record) -> Headline:
    if _unseen(check):
        value, context = f"< {figure(check.get('resolution'))}", "a larger one would have been seen"
        return Headline("Error", value, context)
    if check.get("resolution"):
        context = "its random numbers set aside"
        return Headline("Mean error", figure(check["error"]), context)
    rounding = f"rounding may explain {figure(check.get('rounding'))}"
    if check.get("in_float64") is not None:
        rounding = f"in float64 {figure(check['in_float64'])} under the worst element"
    return Headline("Mean error", figure(check["error"]), rounding)


def _beside(check: Record, wrong: Record) -> str:
    """Say how far a wrong group is from the error, or from what random numbers hide of it."""
    unseen = _unseen(check)
    of = "what the random numbers hide" if unseen else "the error"
    error = finite(check.get("resolution" if unseen else "error"))
    other = finite(wrong.get("error"))
    if error is None or other is None:
        return ""
    rounding = finite(check.get("rounding")) or 0.0
    if rounding > error and other < _FAR * rounding:
        of, error = "what rounding may explain", rounding
    if _BETTER * other <= error:
        return f"{error / max(other, _LEAST):.1f} times less than {of}: it fits better"
    if other <= error:
        return f"no more than {of}: no difference"
    if other > _MOST * error:
        return f"more than {_MOST:,} times {of}: a clear difference"
    ratio = other / error
    if ratio >= _FAR:
        return f"{ratio:.0f} times {of}: a clear difference"
    return f"{ratio:.1f} times {of}; {_FAR} times or more counts as a clear difference"


def _unseen(check: Record) -> bool:
    """Tell whether random numbers hide the error."""
    return check.get("verdict") in _UNSEEN and bool(check.get("resolution"))


def definition(check: Record) -> str:
    """Return what the error is."""
    target = "f(x)" if check.get("output") in (None, "invariant") else "ρ(g) f(x)"
    return (
        f"The error of an element g is ‖f(gx) − {target}‖ / s. The spread s is that of the outputs "
        "over the inputs, so a constant that is added to them hides nothing. Two unrelated outputs "
        f"differ by 1.4. {_DOTS_OF_RANDOM if check.get('resolution') else _DOTS}"
    )


def controls(check: Record) -> str:
    """Explain the wrong groups."""
    groups = part(check, "wrong_groups")
    shuffled, other = part(groups, "shuffled"), part(groups, "other")
    told = {
        "another input": "The first wrong target is the output for another input.",
        "another draw": "In the first wrong group, the outputs move by another draw.",
        "shuffled elements": "In the first wrong group, the outputs move by other elements.",
    }
    first = told.get(str(shuffled.get("name")), "")
    if other:
        second = f"In the second, {other.get('name')} moves the inputs."
        if any(row.get("other") is None for row in _elements(check)):
            second += " Moves that both groups have are left out."
    else:
        reason = check.get("reason")
        second = f"There is no second: {reason}." if reason else ""
    third = "Last, the outputs move by g⁻¹ in place of g." if part(groups, "inverse") else ""
    return " ".join(filter(None, (first, second, third)))


def marks(check: Record) -> dict[str, Mark]:
    """Return the marks of the picture, the most important one first."""
    groups = part(check, "wrong_groups")
    names = {key: part(groups, key).get("name") for key in _WRONG_GROUPS}
    return {
        "own": Mark(f"{check.get('group') or 'the group'}", "dot", "--accent"),
        "shuffled": Mark(str(names["shuffled"] or "shuffled elements"), "cross", "--muted"),
        "other": Mark(str(names["other"] or "another group"), "square", "--series-2"),
        "inverse": Mark(str(names["inverse"] or "inverse elements"), "diamond", "--ink"),
    }


def rows_of(check: Record) -> dict[str, dict[str, Record | None]]:
    """Return the figures of each element and of the wrong groups in its place."""
    return {
        element_label(str(row.get("element") or place)): {
            "own": _drawn(row),
            "shuffled": _drawn(row.get("shuffled")),
            "other": _drawn(row.get("other")),
            "inverse": _drawn(row.get("inverse")),
        }
        for place, row in enumerate(_elements(check), start=1)
    }


def words_of(check: Record) -> dict[str, str]:
    """Return what each element does, in words."""
    return {
        element_label(str(row.get("element") or place)): str(row.get("words") or "")
        for place, row in enumerate(_elements(check), start=1)
    }


def _drawn(row: Record | None) -> Record | None:
    """Return what is drawn: without random numbers, the error or what they hide of it."""
    expected, hidden = (finite((row or {}).get(key)) for key in ("expected", "hidden"))
    if expected is None or hidden is None:
        return row
    return {"mean": max(expected, hidden)}


def table(check: Record) -> Table:
    """Return the table of all elements."""
    groups, elements = part(check, "wrong_groups"), _elements(check)
    random = _EXPECTED if check.get("resolution") else ()
    blocks = [
        (str(check.get("group") or "The group"), "", (*random, *_OWN)),
        *(
            (f"With {part(groups, key).get('name') or key}", key, (*random[:1], *_WRONG))
            for key in _WRONG_GROUPS
            if any(row.get(key) for row in elements)
        ),
    ]
    return Table(
        caption="Error of every element but the identity, in spreads of the outputs",
        corner="Element",
        spans=tuple(Span(heading, len(columns)) for heading, _, columns in blocks),
        columns=tuple(
            Heading(column.heading, column.meaning, first=column is columns[0])
            for _, _, columns in blocks
            for column in columns
        ),
        rows=tuple(
            Row(
                element_label(str(row.get("element"))),
                (str(row["words"]),) if row.get("words") else (),
                None,
                tuple(
                    Cell(figure((part(row, key) if key else row).get(column.key)))
                    for _, key, columns in blocks
                    for column in columns
                ),
            )
            for row in elements
        ),
    )


def _elements(check: Record) -> list[Record]:
    """Return the elements that were measured: none of constant outputs."""
    constant = check.get("verdict") == "constant"
    return [] if constant else [row for row in check.get("elements") or () if row]
