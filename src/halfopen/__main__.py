"""`python -m halfopen`."""

from halfopen.cli.entry import main

main()
