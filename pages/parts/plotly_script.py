"""plotly.min.js, served from the installed plotly package: no copy is made, so the app's folder may be read-only."""

from importlib.resources import files
from pathlib import Path
from typing import Any

from starlette.responses import FileResponse
from starlette.routing import Route

PATH = "app/static/plotly.min.js"  # as `live_curve` asks for it, below server.baseUrlPath


def route() -> Route:
    """Return the route for the script.

    It takes any base path: Streamlit's options must not be read before the app has said where its config.toml is.
    """
    return Route(f"/{{base:path}}{PATH}", _script, methods=["GET"])


async def _script(request: Any) -> FileResponse:
    return FileResponse(Path(str(files("plotly"))) / "package_data" / "plotly.min.js", media_type="text/javascript")
