"""The door that links of messages lead to: redirects, landing pages, the way out. Strangers ask here."""
