"""The program behind `just`: runs the stack, runs the load and reads it back."""
