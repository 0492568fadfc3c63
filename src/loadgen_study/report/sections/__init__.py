"""One module a section of the report: its numbers and tables; its sentences in the template."""
