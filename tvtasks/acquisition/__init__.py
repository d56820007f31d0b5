"""A watch: the loop that joins monitor, ledger and work, and whatever looks after it."""
