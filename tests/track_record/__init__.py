"""Published NATS defects found again, each by one command: `python -m tests.track_record ISSUE`."""
