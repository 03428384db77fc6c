"""Tables of a run as LaTeX (booktabs), Markdown and CSV."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mfh._checks import cell_text
from mfh._report.tables import Table
from mfh._system.files import write_text
from mfh.results import RunResult

ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\N{MINUS SIGN}": "$-$",
    "\N{EN DASH}": "--", "<": "$<$", ">": "$>$",
}  # fmt: skip


def latex(table: Table) -> str:
    r"""Return a `tabular` with the rules of booktabs, and the caption above it.

    >>> print(latex({"name": "a", "caption": "Of 5%", "rows": [[{"text": "x_1"}, {"text": "2"}]],
    ...     "columns": [{"label": "Arm", "numeric": False}, {"label": "Mean", "numeric": True}]}))
    % needs \usepackage{booktabs}
    \begin{table}
    \caption{Of 5\%}
    \label{tab:a}
    \begin{tabular}{lr}
    \toprule
    Arm & Mean \\
    \midrule
    x\_1 & 2 \\
    \bottomrule
    \end{tabular}
    \end{table}
    """
    layout = "".join("r" if column["numeric"] else "l" for column in table["columns"])
    heads = [column["label"] for column in table["columns"]]
    lines = [_latex_row([cell["text"] for cell in row]) for row in table["rows"]]
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}",
            r"\begin{table}",
            rf"\caption{{{_tex(table['caption'])}}}",
            rf"\label{{tab:{table['name']}}}",
            rf"\begin{{tabular}}{{{layout}}}",
            r"\toprule",
            _latex_row(heads),
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def markdown(table: Table) -> str:
    r"""Return a table of GitHub's Markdown, its caption above it.

    >>> print(markdown({"name": "a", "caption": "Means", "rows": [[{"text": "a|b"}, {"text": "2"}]],
    ...     "columns": [{"label": "Arm", "numeric": False}, {"label": "Mean", "numeric": True}]}))
    Means
    <BLANKLINE>
    | Arm | Mean |
    |---|---:|
    | a\|b | 2 |
    """
    rule = "|".join("---:" if column["numeric"] else "---" for column in table["columns"])
    rows = [[column["label"] for column in table["columns"]], None]
    rows += [[cell["text"] for cell in row] for row in table["rows"]]
    lines = [f"|{rule}|" if row is None else f"| {' | '.join(map(_md, row))} |" for row in rows]
    return "\n".join([_md(table["caption"]), "", *lines])


def save_tables(result: RunResult, tables: Sequence[Table], folder: Path) -> list[Path]:
    """Write each table as `.tex` and `.md`, and all rows of the result's tables as `.csv`."""
    paths = []
    for made in tables:
        paths.append(write_text(folder / f"{made['name']}.tex", latex(made) + "\n"))
        paths.append(write_text(folder / f"{made['name']}.md", markdown(made) + "\n"))
    values = result.to_dict()
    for name, rows in values.items():
        if isinstance(rows, (list, tuple)) and rows and isinstance(rows[0], dict):
            paths.append(write_text(folder / f"{name}.csv", comma_separated(rows)))
    return paths


def comma_separated(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV, with the keys of any of them as columns; None is empty, formulas become text.

    >>> print(comma_separated([{"arm": "a,b", "ratio": None}, {"arm": "c", "ratio": 0.5}]).strip())
    arm,ratio
    "a,b",
    c,0.5
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: cell_text(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _latex_row(texts: Sequence[str]) -> str:
    row = " & ".join(map(_tex, texts))
    # after the line break of the row above, a bracket or a star would be read as its option
    return ("{}" if row.startswith(("[", "*")) else "") + row + r" \\"


def _tex(text: str) -> str:
    return "".join(ESCAPES.get(character, character) for character in " ".join(text.split()))


def _md(text: str) -> str:
    # a bracket before a parenthesis would make a link, or a picture that is fetched
    return re.sub(r"([|\\`*<]|\](?=\())", r"\\\1", " ".join(text.split()))
