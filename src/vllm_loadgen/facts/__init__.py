"""The facts of a run as they lie in its folder: one typed record for each JSON file.

``base`` keeps them (schema version, null for NaN); ``inputs`` is what was measured on what,
``results`` what LoadGen and the records say of a test, ``scores`` what the answers are worth.
Everybody may import from here; nothing here computes anything.
"""
