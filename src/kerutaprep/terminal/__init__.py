"""What people see: log lines, a run as it goes on, and drawings of one that is over."""
