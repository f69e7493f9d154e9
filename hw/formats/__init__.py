"""Number formats: storage sizes (:mod:`.storage`), bit codecs (:mod:`.binary`, :mod:`.encode`, :mod:`.integer`)."""
