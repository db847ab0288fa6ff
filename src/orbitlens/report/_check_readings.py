"""The check of a network in words and tables."""

from orbitlens.report._notation import element_label, figure, finite
from orbitlens.report._readings import Headline, network_input, part
from orbitlens.report._table import Cell, Column, Heading, Record, Row, Span, Table
from orbitlens.report.network._parts import Mark

_OWN = (
    Column("mean", "Mean", "Mean error over the inputs"),
    Column("std", "Deviation", "Standard deviation of the error over the inputs"),
    Column("largest", "Largest", "Error of the input with the largest one"),
)
_WRONG = (_OWN[0], _OWN[2])
_WORDS = {
    "constant": ("Unclear", "all inputs get the same output"),
    "exact": ("Yes", "up to rounding"),
    "noise": ("Unclear", "the random numbers of the function hide the rest"),
    "nearly": ("Nearly", "the error is below a tenth of the wrong one"),
    "partly": ("In part", "the error is below half of the wrong one"),
    "none": ("No", "a wrong target fits about as well"),
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
        lines.append(Headline(f"A symmetry under {check.get('group')}?", word, context))
    if check.get("error") is not None:
        rounding = f"rounding explains {figure(check.get('rounding'))}"
        lines.append(Headline("Mean error", figure(check["error"]), rounding))
    for wrong in part(check, "wrong_groups").values():
        if wrong:
            name = str(wrong.get("name"))
            context = "beside it: should be far larger"
            lines.append(Headline(f"With {name}", figure(wrong.get("error")), context))
    if noise := finite(check.get("noise")):
        lines.append(Headline("The same input twice", figure(noise), "it should be 0"))
    return lines


def definition(check: Record) -> str:
    """Return what the error is."""
    target = "f(x)" if check.get("output") in (None, "invariant") else "ρ(g) f(x)"
    return (
        f"The error of an element g is ‖f(gx) − {target}‖ / s. The spread s is that of the outputs "
        "over the inputs, so a constant that is added to them hides nothing. Two unrelated outputs "
        "differ by 1.4. Dots are means over the inputs, lines their standard deviation."
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
            second += f" Its moves that {check.get('group')} has, too, are left out."
    else:
        reason = check.get("reason")
        second = f"There is no second: {reason}." if reason else ""
    return " ".join(filter(None, (first, second)))


def marks(check: Record) -> dict[str, Mark]:
    """Return the marks of the picture, the most important one first."""
    groups = part(check, "wrong_groups")
    names = {key: part(groups, key).get("name") for key in ("shuffled", "other")}
    return {
        "own": Mark(f"{check.get('group') or 'the group'}", "dot", "--accent"),
        "shuffled": Mark(str(names["shuffled"] or "shuffled elements"), "cross", "--muted"),
        "other": Mark(str(names["other"] or "another group"), "square", "--series-2"),
    }


def rows_of(check: Record) -> dict[str, dict[str, Record | None]]:
    """Return the figures of each element and of the wrong groups in its place."""
    return {
        element_label(str(row.get("element") or place)): {
            "own": row,
            "shuffled": row.get("shuffled"),
            "other": row.get("other"),
        }
        for place, row in enumerate(_elements(check), start=1)
    }


def table(check: Record) -> Table:
    """Return the table of all elements."""
    groups, elements = part(check, "wrong_groups"), _elements(check)
    blocks = [
        (str(check.get("group") or "The group"), "", _OWN),
        *(
            (f"With {part(groups, key).get('name') or key}", key, _WRONG)
            for key in ("shuffled", "other")
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
                (),
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
    return [row for row in check.get("elements") or () if row]
