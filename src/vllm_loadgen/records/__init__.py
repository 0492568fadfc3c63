"""What a test leaves in its folder: one typed record for each JSON file, and the tables' columns.

``base`` keeps a record (schema version, null for NaN); ``result`` is result.json, ``engine``
engine.json, ``columns`` the table of queries, and the same on its way to the disk.
"""
