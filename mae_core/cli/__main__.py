"""`python -m mae_core.cli`: the same as the console script."""

from mae_core.cli import main

main()
