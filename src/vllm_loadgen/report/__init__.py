"""The report: papermill, sentences, tables, figures."""
