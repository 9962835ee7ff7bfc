"""`python -m mae_core.cli` does the same as the console script `mae`."""

from mae_core.cli import main

main()
