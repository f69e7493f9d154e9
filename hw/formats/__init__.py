"""Number formats: names and storage sizes (:mod:`.storage`)."""
