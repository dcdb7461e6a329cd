"""Shows Sphinx's roles, with which docstrings name classes and functions, as their last names."""

import re

ROLE = re.compile(r":(?:meth|func|class|attr|mod|data):<code>~?(?:[\w.]*\.)?(\w+)</code>")


def on_page_content(html: str, **_: object) -> str:
    return ROLE.sub(r"<code>\1</code>", html)
