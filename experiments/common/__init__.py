"""What every run shares: options, folder, console, trainings over seeds, pictures, networks side by side."""
