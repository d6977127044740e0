"""One trainer for every method: device, precision, resume, logs, records."""
