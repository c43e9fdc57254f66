"""From a message to a place: the name a file gets and the path it lies under."""
