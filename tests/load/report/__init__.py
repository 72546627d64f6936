"""How a result is shown: tables in the terminal, plots, and a page that needs no network."""
