"""The process of a job that needs no model: python -m icm_engine.jobs --db FILE JOB."""

import sys

from icm_engine.jobs.job_process import main, perform

if __name__ == "__main__":
    sys.exit(main(perform))
