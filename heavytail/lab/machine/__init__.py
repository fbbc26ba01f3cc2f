"""What the machine is asked for: threads, processes, files, devices."""
