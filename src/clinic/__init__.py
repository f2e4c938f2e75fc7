"""The veterinary clinic: owners, their pets, and the appointments of those pets."""
