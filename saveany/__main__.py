"""`python -m saveany` is the `saveany` command."""

from saveany.cli import main

main()
