"""Appointments of pets, and the agenda of all of them."""
