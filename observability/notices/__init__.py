"""What Alertmanager's notices are sent to, where nobody said otherwise."""
