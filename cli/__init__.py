"""The command line: attractor serve | worker | demo | migrate | bench."""
