"""Pictures and tables made from the files of a run, sweep or paper's table, finished or not."""
