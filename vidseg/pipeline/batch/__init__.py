"""Many videos: jobs in, one run's folder for each out, on Ray or in this process.

jobs.py      a file of jobs, checked whole before anything starts
stage.py     one job done from its video to its folder; knows no Ray
ray_pool.py  the stage on a pool of Ray actors; in_process.py: the same without Ray
tally.py     how a run stands, told to the progress bar and, by ray_metrics.py, to Prometheus
driver.py    hands jobs to a pool, tries again what may pass, writes report.jsonl and summary.json
stores.py    addresses of files, here or on any store that fsspec knows
status.py    how a run stands
report.py    report.html
"""
