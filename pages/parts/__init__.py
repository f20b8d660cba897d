"""Pieces that pages are put together from; Streamlit's own search for pages does not look in here."""
