"""From the files of a run or sweep to pictures and tables; nothing here needs the run to be alive."""
