"""Who may reach the app. Standard library alone (Starlette, which Streamlit brings, is used by pages only).

policy              what the server was started with: host names, login, or why the app is closed; the password and
                    its attempts, and sessions
middleware          ASGI in front of Streamlit: hosts, origins, login, headers; its two HTML pages
"""
