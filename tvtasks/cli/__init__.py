"""The command line ``tvtasks``: one module for each command."""
