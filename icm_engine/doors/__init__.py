"""Who may reach the app: what is refused at the start, hosts and origins, the login, and what a page may fetch."""
