"""ICM Workbench: the home page and the menu. Start it with `icm app` or `streamlit run app.py`.

Streamlit serves `app`, which is this file behind the access middleware, and runs this file for every page.
"""

import streamlit as st
from starlette.middleware import Middleware

from pages.parts import charts, home, menu

app = st.App(__file__, routes=[charts.route()], middleware=[Middleware(menu.guarded)])


if __name__ == "__main__":
    menu.show(home.show).run()
