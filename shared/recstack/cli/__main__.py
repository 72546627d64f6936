"""`python -m recstack.cli`"""

from recstack.cli.app import main

main()
