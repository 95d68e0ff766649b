"""The long-form fault test: `python -m tests.torture`."""
