"""Files of customers: read, judged, reported, and loaded."""
