"""ICM Workbench: the home page, and the menu of all pages. Start it with `streamlit run app.py`."""

from pages.parts import home, menu

menu.show(home.show).run()
