"""A report's body to one page: landmarks, contents, captions; tables that scroll and fold.

Nothing in it is fetched: the page itself forbids a browser to ask any host.
"""

import re
from importlib import resources

from bs4 import BeautifulSoup, PageElement, Tag

# A table of more rows than a reader takes in at a glance is folded; its heading says what it is.
FOLDED_ROWS = 15
FIRST, FIRST_TITLE = "summary", "Summary"
# In a page that holds all it shows: styles and scripts of its own, images and files as data.
POLICY = (
    "default-src 'none'; img-src data: blob:; font-src data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline' 'unsafe-eval'; connect-src data: blob:"
)
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}</style></head>
<body><a class="skip" href="#{first}">Skip to the summary</a>
{nav}<main>{body}</main>{scripts}
<script>{script}</script></body></html>
"""


def page_of(body: str, scripts: str = "") -> str:
    """The page around the body that nbconvert makes of an executed notebook.

    Args:
        scripts: whole elements that go behind the body as they are.
    """
    soup = BeautifulSoup(body, "html.parser")
    _flatten(soup)
    _into_sections(soup)
    _name_headings(soup)
    _into_cards(soup)
    for table in soup.find_all("table"):
        _in_a_box(soup, table)
    title = soup.find("h2") or soup.find("h1")
    return PAGE.format(
        policy=POLICY,
        title=_escaped(_text(title).removesuffix("#")) if title else "Benchmark report",
        style=_embedded("report.css"),
        script=_embedded("report.js"),
        scripts=scripts,
        first=FIRST,
        nav=_contents(soup),
        body=soup,
    )


def _embedded(name: str) -> str:
    return (resources.files("loadgen_study") / "embedded" / name).read_text(encoding="utf-8")


def _text(tag: Tag) -> str:
    return " ".join(tag.get_text().split())


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _flatten(soup: BeautifulSoup) -> None:
    """Without nbconvert's boxes in boxes, empty cells and marks beside headings."""
    for cell in soup.select(".celltag_parameters, .anchor-link"):
        cell.decompose()
    boxes = ".cell, .inner_cell, .output_wrapper, .output, .output_area, .prompt, .input, "
    for box in soup.select(f"{boxes}.text_cell_render"):
        box.unwrap()


def _into_sections(soup: BeautifulSoup) -> None:
    """Each heading of the second level with all that follows it."""
    for box in soup.select(".output_markdown:has(> h2)"):
        box.unwrap()  # Markdown that a cell shows has a box of its own, with its heading in it
    for heading in soup.find_all("h2"):
        _gather(heading, soup.new_tag("section"), ("h2",))


def _gather(heading: Tag, box: Tag, ends: tuple[str, ...]) -> None:
    """A heading into a box in its place, with all that follows up to the next of these tags."""
    follows: list[PageElement] = [heading]
    for one in heading.next_siblings:
        if isinstance(one, Tag) and one.name in ends:
            break
        follows.append(one)
    heading.insert_before(box)
    for one in follows:
        box.append(one.extract())


def _name_headings(soup: BeautifulSoup) -> None:
    """An address for each, said by words that stay the same from run to run."""
    taken: set[str] = set()
    for place, section in enumerate(soup.find_all("section")):
        for heading in section.find_all("h2"):
            _name(soup, heading, FIRST if place == 0 else _slug(_text(heading)), taken)
            section["aria-labelledby"] = heading["id"]
    for heading in soup.find_all("h3"):
        _name(soup, heading, _slug(_text(heading)), taken)


def _name(soup: BeautifulSoup, heading: Tag, wanted: str, taken: set[str]) -> None:
    name, number = wanted, 2
    while name in taken:
        name, number = f"{wanted}-{number}", number + 1
    taken.add(name)
    heading["id"] = name
    link = soup.new_tag("a", attrs={"class": "anchor", "href": f"#{name}"})
    link["aria-label"] = f"Link to {_text(heading)}"
    link.string = "#"
    heading.append(link)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "part"


def _into_cards(soup: BeautifulSoup) -> None:
    """The questions of the first screen, each in a card with its answer."""
    summary = soup.find("section")
    if summary is None or (first := summary.find("h3")) is None:
        return
    cards = soup.new_tag("div", attrs={"class": "cards"})
    first.insert_before(cards)
    for heading in summary.find_all("h3"):
        card = soup.new_tag("div", attrs={"class": "card"})
        _gather(heading, card, ("h2", "h3"))
        cards.append(card.extract())


def _in_a_box(soup: BeautifulSoup, table: Tag) -> None:
    """A table scrolls in its own box, by the keyboard too; a long one is folded."""
    heading = table.find_previous(["h3", "h2"])
    title = _text(heading).removesuffix("#") if heading else "Table"
    for cell in table.select("thead th"):
        cell["scope"] = "col"
    rows = table.select("tbody tr")
    for row in rows:
        if (first := row.find(["td", "th"])) is not None:
            first.name, first["scope"] = "th", "row"
    box = soup.new_tag("div", attrs={"class": "table", "role": "region", "tabindex": "0"})
    box["aria-label"] = f"Table: {title}"
    table.wrap(box)
    if len(rows) > FOLDED_ROWS:
        fold = soup.new_tag("details")
        summary = soup.new_tag("summary")
        summary.string = f"{title}: {len(rows)} rows"
        box.wrap(fold)
        fold.insert(0, summary)


def _contents(soup: BeautifulSoup) -> str:
    """The table of contents: a link to each section, and to its parts but those of the summary."""
    links: list[str] = []
    for section in soup.find_all("section"):
        heading, parts = section.find("h2"), section.find_all("h3")
        if heading is None:
            continue
        if not links:
            links.append(_link(heading, FIRST_TITLE))
            continue
        inner = "".join(f"<li>{_link(part)}</li>" for part in parts)
        links.append(_link(heading) + (f"<ol>{inner}</ol>" if inner else ""))
    listed = "".join(f"<li>{link}</li>" for link in links)
    return f'<nav aria-label="Contents"><ol>{listed}</ol></nav>\n' if links else ""


def _link(heading: Tag, title: str = "") -> str:
    text = title or _text(heading).removesuffix("#")
    return f'<a href="#{heading["id"]}">{_escaped(text)}</a>'
