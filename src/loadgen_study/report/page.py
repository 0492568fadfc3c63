"""A report's body to one page: landmarks, contents; tables that scroll and fold.

Nothing in it is fetched: the page itself (``embedded/report.html``) forbids a browser to ask any
host. It holds all that it shows: styles and scripts of its own, images and files as data.
"""

import html
import re
from importlib import resources
from itertools import chain, count, takewhile

from bs4 import BeautifulSoup, Tag

# A table of more rows is folded under its heading.
FOLDED_ROWS = 15
FIRST, FIRST_TITLE = "summary", "Summary"
# nbconvert's nested boxes, and that of a cell's Markdown with a heading.
BOXES = (
    ".cell, .inner_cell, .output_wrapper, .output, .output_area, .prompt, .input, "
    ".text_cell_render, .output_markdown:has(> h2)"
)


def page_of(body: str, scripts: str = "") -> str:
    """The page around the body that nbconvert makes of an executed notebook.

    Args:
        scripts: whole elements that go behind the body as they are.
    """
    soup = BeautifulSoup(body, "html.parser")
    for mark in soup.select(".celltag_parameters, .anchor-link"):
        mark.decompose()
    _drop_empty(soup)
    for box in soup.select(BOXES):
        box.unwrap()
    for table in soup.find_all("table"):
        _in_a_box(soup, table)
    heading = soup.find("h2") or soup.find("h1")
    title = _text(heading) if heading else "Benchmark report"
    nav = _into_sections(soup)
    return embedded("report.html").format(
        title=html.escape(title, quote=False),
        style=embedded("report.css"),
        script=embedded("report.js"),
        scripts=scripts,
        first=FIRST,
        nav=nav,
        body=soup,
    )


def embedded(name: str) -> str:
    """A part of the page's own: its shell, a style or a script."""
    return (resources.files("loadgen_study") / "embedded" / name).read_text(encoding="utf-8")


def _text(tag: Tag) -> str:
    return " ".join(tag.get_text().split())


def _drop_empty(soup: BeautifulSoup) -> None:
    """Take out headings, with their introductions, whose cells have no output."""
    for cell in reversed(soup.select(".text_cell_render:has(> h2, > h3)")):
        follows = cell.find_next(class_=["text_cell_render", "output"])
        if follows is None or _level(follows) <= _level(cell):
            cell.decompose()


def _level(cell: Tag) -> int:
    """The level of a cell's heading, 2 or 3; 4 of an output."""
    heading = cell.find(["h2", "h3"]) if "text_cell_render" in cell["class"] else None
    return int(heading.name[1]) if heading else 4


def _in_a_box(soup: BeautifulSoup, table: Tag) -> None:
    """A table scrolls in its own box, by the keyboard too; a long one is folded."""
    heading = table.find_previous(["h3", "h2"])
    title = _text(heading) if heading else "Table"
    for cell in table.select("thead th"):
        cell["scope"] = "col"
    rows = table.select("tbody tr")
    for row in rows:
        if (first := row.find(["td", "th"])) is not None:
            first.name, first["scope"] = "th", "row"
    region = {"class": "table", "role": "region", "tabindex": "0", "aria-label": f"Table: {title}"}
    box = table.wrap(soup.new_tag("div", attrs=region))
    if len(rows) > FOLDED_ROWS:
        fold = box.wrap(soup.new_tag("details"))
        summary = soup.new_tag("summary")
        summary.string = f"{title}: {len(rows)} rows"
        fold.insert(0, summary)


def _into_sections(soup: BeautifulSoup) -> str:
    """Put each heading of the second level and all that follows it into a section.

    Returns:
        the contents: a link to each section, and to its parts except those of the summary.
    """
    listed, taken = "", set[str]()
    for heading in soup.find_all("h2"):
        section = heading.wrap(soup.new_tag("section"))
        follows = takewhile(lambda one: getattr(one, "name", "") != "h2", section.next_siblings)
        section.extend(list(follows))
        first, *parts = (_linked(soup, one, taken) for one in section.find_all(["h2", "h3"]))
        section["aria-labelledby"] = heading["id"]
        inner = "".join(f"<li>{part}</li>" for part in parts) if listed else ""
        listed += f"<li>{first}<ol>{inner}</ol></li>" if inner else f"<li>{first}</li>"
    return f'<nav aria-label="Contents"><ol>{listed}</ol></nav>\n' if listed else ""


def _linked(soup: BeautifulSoup, heading: Tag, taken: set[str]) -> str:
    """Give a heading an address, by words that stay the same from run to run; the link to it."""
    title = text = _text(heading)
    wanted = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "part"
    if not taken:
        wanted, title = FIRST, FIRST_TITLE
    names = chain([wanted], (f"{wanted}-{number}" for number in count(2)))
    name = next(name for name in names if name not in taken)
    taken.add(name)
    heading["id"] = name
    mark = {"class": "anchor", "href": f"#{name}", "aria-label": f"Link to {text}"}
    link = soup.new_tag("a", attrs=mark)
    link.string = "#"
    heading.append(link)
    return f'<a href="#{name}">{html.escape(title, quote=False)}</a>'
