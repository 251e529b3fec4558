"""One file per claim; `python -m experiments` lists them. What several of them need lies in folders by theme."""
