"""Mathematics as MathML, written when the site is built: browsers draw it without any script or font."""

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.writers.html5 import HTML5Translator


def to_mathml(latex: str, *, block: bool) -> str:
    """MathML of a formula.

    Raises:
        ExtensionError: the formula uses a command that is not understood, which would be shown as text.
    """
    markup = convert(" ".join(latex.split()), display="block" if block else "inline")
    if "\\" in markup:
        raise ExtensionError(f"not understood as mathematics: {latex}")
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
