"""The command line ``tvtasks``: one module per command."""
