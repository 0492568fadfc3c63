"""In place of a package that jsonschema would use if it were there: it reads a grammar for seconds.

jsonschema is imported by each kernel, by each of vLLM's and of Ray's processes; the package knows
what an international address looks like, of which no schema here has any.
"""

raise ImportError
