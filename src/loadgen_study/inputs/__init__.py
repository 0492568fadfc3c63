"""What is measured, on what: model, data, machine, software; each a record of ``facts.inputs``."""
