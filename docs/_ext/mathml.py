"""Write mathematics as MathML when the site is built, so that browsers need no script and no font."""

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.writers.html5 import HTML5Translator


def to_mathml(latex: str, *, block: bool) -> str:
    """Return the MathML of a formula.

    Raises:
        ExtensionError: the formula has an unknown command, which would be shown as text.
    """
    markup = convert(" ".join(latex.split()), display="block" if block else "inline")
    if "\\" in markup:
        raise ExtensionError(f"The formula has a LaTeX command that is not supported: {latex}")
    return markup


def _inline(translator: HTML5Translator, node: nodes.Element) -> None:
    translator.body.append(f'<span class="math">{to_mathml(node.astext(), block=False)}</span>')
    raise nodes.SkipNode


def _block(translator: HTML5Translator, node: nodes.Element) -> None:
    translator.body.append(f'<div class="math">{to_mathml(node.astext(), block=True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer under the name `mathml`."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
