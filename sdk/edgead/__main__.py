"""Runs `python -m edgead`, the same as the `edgead` command."""

from edgead.cli import main

main()
