"""`python -m clearline`: the command by the interpreter's own path, as processes start it."""

from clearline.cli import main

main()
