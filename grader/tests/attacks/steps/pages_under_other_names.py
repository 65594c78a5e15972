"""Hands in pages with scripts under names that a browser takes for a page and a list of endings does not know.

Must: run in no browser that formgrader serves; no name trips the grader; the right files count.
"""

FAMILY = "steps"
FAST = True
DESERVES = {"lab": 7, "part": 4}
URLS = [
    "/formgrader/submissions/{id}/data:page.html",
    "/formgrader/submissions/{id}/a.HTML",
    "/formgrader/submissions/{id}/b.svg",
    "/formgrader/submissions/{id}/c.xht",
    "/formgrader/submissions/{id}/d.mhtml",
    "/formgrader/submissions/{id}/e.xsl",
    "/formgrader/submissions/{id}/f.js",
    "/formgrader/submissions/{id}/page",
    "/formgrader/submissions/{id}/data:page.html.txt",
    "/formgrader/submissions/{id}/g.py",
    "/formgrader/submissions/{id}/h.html.gz",
    "/formgrader/submissions/{id}/x.html.txt",
    "/formgrader/submissions/{id}/x.html.txt/i.html",
]
PAGE = "<html><script xmlns='http://www.w3.org/1999/xhtml'>pwned()</script></html>"
NAMES_OF_PAGES = (
    "data:page.html a.HTML b.svg c.xht d.mhtml e.xsl f.js page g.py h.html.gz x.html x.html.txt/i.html"
)


def make(folder, right):
    pages = dict.fromkeys(
        [*NAMES_OF_PAGES.split(), f"{'x' * 249}.html", "y\x1b[2J\u202e.html", ".html"], PAGE
    )
    for name, text in {**right, **pages}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
