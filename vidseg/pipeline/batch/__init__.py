"""Many videos: a list of jobs, each tracked into a folder of its own, on Ray or in this process.

jobs.py      a file of jobs, checked whole before anything starts
stage.py     does one job, from its video to its folder; knows nothing of Ray
pool.py      what a pool must do, and one in this process
ray_pool.py  a pool of Ray actors
tally.py     counts of a run, shown by the progress bar and, through ray_metrics.py, by Prometheus
driver.py    hands jobs to a pool, retries what may pass, writes summary.json
job_lines.py report.jsonl
stores.py    addresses of files, here or on any store that fsspec knows
status.py    state of a run, read from its folder
report.py    report.html
"""
