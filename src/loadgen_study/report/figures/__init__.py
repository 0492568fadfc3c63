"""The report's figures, each drawn once: by Altair, in a browser and as a picture."""
