"""Who asks and writes down: LoadGen, the SUT, the process that hosts both."""
