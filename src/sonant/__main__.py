"""`python -m sonant` is `sonant`."""

from sonant.cli import main

main()
