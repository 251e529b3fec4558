"""The benchmark of `experiments speed`: what is timed, who does the work, and how they take turns."""
