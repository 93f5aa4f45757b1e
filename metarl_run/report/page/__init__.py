"""One self-contained HTML page about runs and sweeps: readable without JavaScript, with hover and switches by uPlot."""
