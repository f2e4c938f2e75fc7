"""Two runs compared: what differs beyond the noise within them."""
