"""REST API of a veterinary clinic: owners, their pets and the pets' appointments."""
