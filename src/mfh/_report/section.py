"""What a page consists of: sections, with their parts of the summary, tables, figures and words."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mfh._report.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Summary = Mapping[str, Any]
"""All that a page shows, as plain values; every section adds its own keys."""

DEFAULT_TEMPLATE = """
{% if section.pictures %}
<div class="pair">
{% for name in section.pictures %}{{ picture(name) }}{% endfor %}
</div>
{% endif %}
{% for name in section.tables %}{{ grid(name) }}{% endfor %}
"""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One figure.

    Attributes:
        name: of its file, and of its place on the page.
        draw: draws it from the summary; returns None where there is nothing to draw.
        caption: the text below it.
        describe: what it shows, in words, for readers who cannot see it.
    """

    name: str
    draw: "Callable[[Summary], Figure | None]"
    caption: Callable[[Summary], str]
    describe: Callable[[Summary], str]


@dataclass(frozen=True, kw_only=True)
class Section:
    """One section of a page.

    Attributes:
        name: its anchor on the page.
        heading: its heading; empty for the head of a page.
        summarize: returns its part of the summary, from what the page is made from (a `StudyView`, for one)
            and from the summary of all sections below it on the page.
        intro: its first paragraph; code is between backticks.
        pictures: its figures.
        tables: its tables; each function returns None where there is nothing to list.
        template: Jinja text below the first paragraph. It may use the summary `s` and the macros of
            `page.html.jinja`. By default all figures, then all tables.
        is_shown: whether the page has the section. By default where it has a table or a figure.
    """

    name: str
    heading: str = ""
    summarize: Callable[[Any, Summary], Mapping[str, Any]] = lambda _source, _summary: {}
    intro: Callable[[Summary], str] = lambda _: ""
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Callable[[Summary], Table | None], ...] = ()
    template: str = DEFAULT_TEMPLATE
    is_shown: Callable[[Summary], bool] | None = None


@dataclass(frozen=True, kw_only=True)
class Page:
    """One kind of page.

    Attributes:
        kicker: the line above the title.
        head: what comes before the list of contents.
        sections: all others, in their order on the page.
    """

    kicker: str
    head: Section
    sections: tuple[Section, ...]

    def __iter__(self) -> Iterator[Section]:
        """Yield the head, then all sections."""
        yield from (self.head, *self.sections)

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All figures of the page, in their order."""
        return tuple(picture for section in self for picture in section.pictures)

    def summarize(self, source: Any, facts: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the summary of all sections.

        The last section comes first, so that a section may sum up those below it.

        Args:
            source: what the page is made from.
            facts: the start of the summary, what several sections need.
        """
        summary: dict[str, Any] = dict(facts or {})
        for section in reversed(tuple(self)):
            summary |= section.summarize(source, summary)
        return summary

    def build_tables(self, summary: Summary) -> dict[str, dict[str, Table]]:
        """Return the tables that have rows: section -> name -> table."""
        return {
            section.name: {made["name"]: made for build in section.tables if (made := build(summary))}
            for section in self
        }
