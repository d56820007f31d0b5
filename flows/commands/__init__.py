"""Commands of the command line, one module for each group; `flows.cli` registers them."""
