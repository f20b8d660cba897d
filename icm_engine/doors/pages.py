"""The two pages that are not Streamlit's: the login, and why the app is closed. Whatever is put in is escaped."""

from collections.abc import Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 12vh auto 0; max-width: 26rem; padding: 0 1.25rem; }
body.wide { max-width: 46rem; }
h1 { font-size: 1.6rem; margin: 0 0 1rem; }
label, input, button { display: block; font: inherit; width: 100%; box-sizing: border-box; }
input { margin: .35rem 0 1rem; padding: .55rem .7rem; border: 1px solid #76828c; border-radius: .6rem; }
button { padding: .6rem; border: 0; border-radius: .6rem; background: #0067a0; color: #fff; cursor: pointer; }
.said { border-left: .25rem solid #d55e00; padding-left: .75rem; }
"""


def login_page(action: str, onward: str, said: str = "") -> str:
    """Return the form that asks for the password; `onward` is where to go then, `said` what went wrong."""
    wrong = f'<p class="said" role="alert">{escape(said)}</p>' if said else ""
    return _page(
        "Log in",
        f'{wrong}<form method="post" action="{escape(action)}">'
        f'<input type="hidden" name="onward" value="{escape(onward)}">'
        '<label for="password">Password</label>'
        '<input id="password" name="password" type="password" autocomplete="current-password" required autofocus>'
        "<button>Log in</button></form>",
    )


def closed_page(problems: Sequence[str]) -> str:
    """Return the page that says why the app shows nothing."""
    items = "".join(f"<li>{escape(problem)}</li>" for problem in problems)
    return _page("The app is closed", f"<p>It was started in a way that is not safe:</p><ul>{items}</ul>", "wide")


def _page(title: str, body: str, kind: str = "") -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} · ICM Workbench</title><style>{STYLE}</style></head>"
        f'<body class="{kind}"><main><h1>{escape(title)}</h1>{body}</main></body></html>'
    )
