"""`python -m halfopen`."""

from halfopen.cli.main import main

main()
