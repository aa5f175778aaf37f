"""CronJobs: Jobs made by the clock. ``times`` says when, ``controller`` what to do about it."""
