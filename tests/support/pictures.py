"""The pictures of the documentation: one of each page in light, as NAME.png, and one in dark, as NAME-dark.png."""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page

from tests.support.chromium import Theme, new_page
from tests.support.paths import ROOT

THEMES: dict[Theme, str] = {"light": "", "dark": "-dark"}  # what is added to a name
FREQUENT = 128  # colours of a picture that are kept exactly
SETTLES = 3000  # milliseconds in which charts and tables follow the rest of a page


def in_both_themes(browser: Browser, name: str, height: int = 1000) -> Iterator[Page]:
    """Yield an empty page in light, then one in dark; keep what it looks like when the caller has drawn it."""
    for theme, suffix in THEMES.items():
        page = new_page(browser, height=height, theme=theme)
        yield page
        page.wait_for_timeout(SETTLES)
        keep(page, f"{name}{suffix}")


def keep(page: Page, name: str) -> None:
    """Write docs/NAME.png in 256 colours, which is a third of the size."""
    with Image.open(io.BytesIO(page.screenshot())) as image:
        in_few_colours(image.convert("RGB")).save(ROOT / "docs" / f"{name}.png", optimize=True)


def in_few_colours(image: Image.Image) -> Image.Image:
    """Return a picture with a palette: its frequent colours exactly, so that no area is tinted, and some of all others.

    Pillow's own mapping to a palette is not to the nearest colour.
    """
    seen, places = np.unique(np.asarray(image).reshape(-1, 3), axis=0, return_inverse=True)
    frequent = seen[np.argsort(np.bincount(places.ravel()))[::-1][:FREQUENT]]
    cover = image.quantize(256 - FREQUENT, Image.Quantize.MAXCOVERAGE).getpalette() or []
    palette = np.concatenate([frequent, np.array(cover[: 3 * (256 - FREQUENT)]).reshape(-1, 3)])
    nearest = np.square(seen[:, None].astype(int) - palette[None].astype(int)).sum(axis=2).argmin(axis=1)
    small = Image.fromarray(nearest[places].reshape(image.height, image.width).astype(np.uint8), "P")
    small.putpalette(palette.astype(np.uint8).tobytes())
    return small
