"""Who asks and writes down: LoadGen, the SUT, and the process that hosts both."""
