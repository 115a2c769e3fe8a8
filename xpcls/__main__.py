"""`python -m xpcls` is `xpcls`."""

from xpcls.cli import main

main()
