"""One file per claim; `python -m experiments` lists them."""
