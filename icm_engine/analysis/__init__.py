"""What people look at: read models computed from events, and figures and tables drawn from read models.

Reading order: tally, reading, steps, views, wording; then resample, figures, frames; choices is the way in.
"""
