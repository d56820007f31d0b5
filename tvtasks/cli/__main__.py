"""``python -m tvtasks.cli``."""

from tvtasks.cli.app import main

main()
