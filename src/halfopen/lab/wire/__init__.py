"""A wire in user space between two hosts of the lab: it adds round-trip time, jitter, loss and cuts."""
