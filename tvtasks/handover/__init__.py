"""Results are handed on: to a second folder, a command, an ELN, a catalogue, or Prefect's events."""
